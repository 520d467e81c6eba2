"""The coordinator of a deployment: banks over TLS, the operator over a socket, phases in between."""
