"""The installed coordinator, under the name that Flower looks for."""

from server.local.server_app import app as installed

app = installed
