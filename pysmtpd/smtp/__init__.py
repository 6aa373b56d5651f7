"""Pure: SMTP and LMTP without a socket. A library for the rooms listen and mta."""
