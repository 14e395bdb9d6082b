//! A time limit for the first bytes of a connection, by which the version of HTTP is recognised.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// The connection preface of HTTP/2 (RFC 9113, section 3.4); no HTTP/1 request begins with it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose reads fail after a timeout if the peer has not sent enough to tell HTTP/1 and
/// HTTP/2 apart.
///
/// `hyper_util` waits without a limit while the bytes received are a prefix of the connection
/// preface, as none at all are. The timeouts of either version begin after that.
pub(super) struct PrefaceTimeout<S> {
    stream: S,
    /// `None` once the version is known.
    deadline: Option<Pin<Box<Sleep>>>,
    /// How many bytes of the preface were received.
    received: usize,
}

impl<S> PrefaceTimeout<S> {
    pub(super) fn new(stream: S, timeout: Duration) -> Self {
        Self {
            stream,
            deadline: Some(Box::pin(sleep(timeout))),
            received: 0,
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        let rest = PREFACE.get(self.received..).unwrap_or_default();
        self.received += bytes.len();
        // No bytes: the end of the stream.
        let may_be_preface =
            !bytes.is_empty() && rest.len() > bytes.len() && rest.starts_with(bytes);
        if !may_be_preface {
            self.deadline = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PrefaceTimeout<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some(deadline) = &mut this.deadline else {
            return read;
        };
        if read.is_pending() {
            ready!(deadline.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        this.receive(buffer.filled().get(before..).unwrap_or_default());
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PrefaceTimeout<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
