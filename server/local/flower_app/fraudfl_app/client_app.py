"""The bank's installed client, under the name that Flower looks for."""

from bank_nodes.client_app import app as installed

app = installed
