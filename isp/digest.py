"""MD5, for names and identities and not for secrets: Python's own, where hashlib loads OpenSSL, which takes 2 ms."""

try:
    from _md5 import md5 as md5  # type: ignore[import-not-found,unused-ignore]
except ImportError:  # a Python that was built without it
    from hashlib import md5 as md5
