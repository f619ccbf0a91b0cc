"""The whole way of an archive, by hand: `make acceptance` (300 studies: `STUDIES=300`)."""
