"""`python -m app run FILE …`: Streamlit, with the pages loaded before it answers, so that no reader waits for that."""

from __future__ import annotations

from importlib import import_module
from threading import Thread

from streamlit.web.cli import main

if __name__ == "__main__":
    import_module("app.pages_of")
    # What adds up ε takes longer, and the first page needs it rarely.
    Thread(target=import_module, args=("fraudfl.privacy.pld",), daemon=True).start()
    main(prog_name="streamlit")
