"""smtpd.conf(5): lexer, grammar, and the checks that turn a file into one frozen Config."""
