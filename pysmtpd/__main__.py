"""C{python -m pysmtpd}: the same as the console command."""

from pysmtpd.tap import main

main()
