"""The installed coordinator, under the name that Flower looks for."""

from server.server_app import app as installed

app = installed
