"""Flows that other programs start over HTTP.

``store`` keeps each request on disk until a run is recorded for it; ``app`` is the endpoint that
takes requests. A code location needs only the store: no module that it imports serves HTTP.
"""
