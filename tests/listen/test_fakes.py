"""The fakes speak the interfaces that they stand for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.interfaces import (
    IAuthenticator,
    ICertificates,
    IReport,
    IResolver,
    IRouter,
    ISubmission,
    ISubmit,
)
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.ids import SessionId
from tests.listen.fakes import House


class FakeTests(SynchronousTestCase):
    def test_interfaces(self) -> None:
        house = House()
        verifyObject(ISubmit, house.submit)
        facts = Transaction(SessionFacts(SessionId(1), "socket", "mx.example.org", "local"))
        verifyObject(ISubmission, house.submit.begin(facts))
        verifyObject(IRouter, house.router)
        verifyObject(ICertificates, house.certificates)
        verifyObject(IAuthenticator, house.authenticator)
        verifyObject(IResolver, house.resolver)
        verifyObject(IReport, house.report)
