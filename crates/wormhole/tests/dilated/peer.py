"""A dilated Python wormhole that a test controls, with lines on standard input:

peer.py MAILBOX APPID CODE leader|follower RELAY|- listen|no-listen

  open STREAMS BYTES    opens streams of subprotocol `echo`, sends data, ends its direction, and checks the echo
  reset, close          loses the connection by RST or FIN
  leave                 closes the wormhole and exits
It echoes all streams of `echo` itself.
"""
import os
import sys

from twisted.internet import defer, protocol, reactor, stdio
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.protocols import basic
from zope.interface import implementer

import wormhole
from wormhole._dilation import manager

MAILBOX, APPID, CODE, ROLE, RELAY, LISTEN = sys.argv[1:]
manager.make_side = lambda: ("f" * 15 if ROLE == "leader" else "0" * 15) + "7"


def say(text):
    print(text, flush=True)


@implementer(IHalfCloseableProtocol)
class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(data)

    def readConnectionLost(self):
        self.transport.loseWriteConnection()

    def writeConnectionLost(self):
        pass


@implementer(IHalfCloseableProtocol)
class Check(protocol.Protocol):
    def connectionMade(self):
        self.got = []
        self.at = 0
        self.send()

    def send(self):
        if self.at >= len(self.factory.data):
            return self.transport.loseWriteConnection()
        self.transport.write(self.factory.data[self.at:self.at + 32768])
        self.at += 32768
        reactor.callLater(0, self.send)

    def dataReceived(self, data):
        self.got.append(data)

    def readConnectionLost(self):
        same = b"".join(self.got) == self.factory.data
        self.factory.done.callback(same)

    def writeConnectionLost(self):
        pass


class Commands(basic.LineReceiver):
    delimiter = b"\n"

    def __init__(self, w, api):
        self.w, self.api = w, api

    def lineReceived(self, line):
        defer.ensureDeferred(self.command(*line.decode().split())).addErrback(fail)

    async def command(self, kind, *rest):
        current = self.api._manager._connection
        if kind == "open":
            streams, size = map(int, rest)
            results = await defer.gatherResults([self.check(size) for _ in range(streams)])
            say("checked %d of %d" % (sum(results), streams))
        elif kind == "reset":
            current.transport.abortConnection()
        elif kind == "close":
            current.transport.loseConnection()
        elif kind == "leave":
            await self.w.close()
            reactor.stop()

    def check(self, size):
        factory = protocol.Factory.forProtocol(Check)
        factory.data = os.urandom(size)
        factory.done = defer.Deferred()
        self.api.connector_for("echo").connect(factory)
        return factory.done


def fail(failure):
    failure.printTraceback()
    say("failed: %s" % failure.value)


async def main():
    w = wormhole.create(APPID, MAILBOX, reactor, dilation=True)
    w.set_code(CODE)
    relay = None if RELAY == "-" else RELAY
    api = w.dilate(transit_relay_location=relay, no_listen=LISTEN != "listen", ping_interval=2.0)
    await api.listener_for("echo").listen(protocol.Factory.forProtocol(Echo))
    commands = Commands(w, api)
    stdio.StandardIO(commands)
    await api.when_dilated()
    say("dilated")


reactor.callWhenRunning(lambda: defer.ensureDeferred(main()).addErrback(fail))
reactor.run()
