"""An address or nothing in, a connected Ray out; the only home of Ray's private API."""
