"""The shipped backends. A third party's file looks just like this one: docs/backends.md."""

from pysmtpd.backends import BackendMaker

queueSqlite = BackendMaker("queue", "sqlite", "sqlite:[PATH]", "pysmtpd.queue.sqlite.make")
queueFs = BackendMaker("queue", "fs", "fs:[PATH]", "pysmtpd.queue.fs.make")
queueRam = BackendMaker("queue", "ram", "ram:", "pysmtpd.queue.ram.make")
queueNull = BackendMaker("queue", "null", "null:", "pysmtpd.queue.null.make")

schedulerRam = BackendMaker("scheduler", "ram", "ram:", "pysmtpd.scheduler.ram.make")
schedulerNull = BackendMaker("scheduler", "null", "null:", "pysmtpd.scheduler.null.make")

statRam = BackendMaker("stat", "ram", "ram:", "pysmtpd.stat.ram.make")
statNull = BackendMaker("stat", "null", "null:", "pysmtpd.stat.null.make")

tableStatic = BackendMaker("table", "static", "static:[PATH]", "pysmtpd.table.static.make")
tableFile = BackendMaker("table", "file", "file:PATH", "pysmtpd.table.file.make")
tableDb = BackendMaker("table", "db", "db:PATH", "pysmtpd.table.db.make")
tableGetpwnam = BackendMaker("table", "getpwnam", "getpwnam", "pysmtpd.table.getpwnam.make")
tableSqlite = BackendMaker("table", "sqlite", "sqlite:PATH", "pysmtpd.table.sqlite.make")
