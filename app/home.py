"""The dashboard's first file: Streamlit runs it for every look at a page."""

from __future__ import annotations

import streamlit as st

from app.pages_of import PAGES
from app.parts import theme
from app.parts.doors import let_in, signed_in_as
from app.place import here

# Drawn here: an icon by name would be fetched from the network.
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#0072b2"/>'
    '<path d="M4 13V4h8M4 8h6" fill="none" stroke="#fff" stroke-width="2"/></svg>'
)


def main() -> None:
    """Frame the page that was asked for, for those who may look."""
    st.set_page_config(page_title="fraudfl", page_icon=_ICON, layout="wide")
    theme.style()
    reader = let_in()
    if reader is None:
        return
    chosen = st.navigation(
        [
            st.Page(page.show, title=page.title, icon=page.icon, url_path=page.name, default=place == 0)
            for place, page in enumerate(PAGES)
        ]
    )
    with st.sidebar:
        st.caption(f"Workspace: {here().path}")
        signed_in_as(reader)
    chosen.run()


main()
