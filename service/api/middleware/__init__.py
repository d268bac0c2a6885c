"""The middleware around every request, one concern per module. `service/api/app.py` has their order."""
