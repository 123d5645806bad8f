"""Why a file is left out, in our words alone: what a header or a decoder says may hold a name."""


class LeftOut(Exception):
    """A file, or a frame of it, that is not taken; the text says why and never quotes what the file holds."""
