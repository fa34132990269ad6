//! The line between one worker and Redis: a proxy that can be cut or fall silent, as a whole or
//! for the backplane alone.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::AbortHandle,
    time,
};

use crate::Failure;

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// Connections are closed, and new ones at once.
    Cut,
    /// Nothing passes, and nothing is closed.
    Silent,
    /// The same for connections that have subscribed.
    BackplaneSilent,
}

pub(crate) struct Line {
    port: u16,
    state: watch::Sender<State>,
    /// One for each connection that is carried.
    carried: Arc<()>,
    task: AbortHandle,
}

impl Line {
    /// A line to this port of this host.
    pub(crate) async fn lay(redis: u16) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let state = watch::Sender::new(State::Open);
        let (changes, carried) = (state.subscribe(), Arc::new(()));
        let one = Arc::clone(&carried);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (changes, one) = (changes.clone(), Arc::clone(&one));
                tokio::spawn(async move {
                    carry(client, redis, changes).await;
                    drop(one);
                });
            }
        });
        Ok(Self { port, state, carried, task: task.abort_handle() })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    /// Waits until no connection is left of those that a cut ends.
    pub(crate) async fn emptied(&self) {
        // One is ours, one the listener's.
        while Arc::strong_count(&self.carried) > 2 {
            time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries one connection until one side closes it or the line is cut.
async fn carry(client: TcpStream, redis: u16, mut changes: watch::Receiver<State>) {
    if *changes.borrow() == State::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", redis)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let subscribed = Arc::new(watch::Sender::new(false));
    let up = pump(from_client, to_server, changes.clone(), Arc::clone(&subscribed), true);
    let down = pump(from_server, to_client, changes.clone(), subscribed, false);
    tokio::select! {
        biased;
        _ = changes.wait_for(|state| *state == State::Cut) => {}
        () = up => {}
        () = down => {}
    }
}

/// Carries one direction. What was read while the line is silent waits for its end.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut changes: watch::Receiver<State>,
    subscribed: Arc<watch::Sender<bool>>,
    is_request: bool,
) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let bytes = &bytes[..length];
        if is_request && bytes.windows(9).any(|word| word.eq_ignore_ascii_case(b"SUBSCRIBE")) {
            subscribed.send_replace(true);
        }
        let is_backplane = *subscribed.borrow();
        let passes = |state: &State| match state {
            State::Open | State::Cut => true,
            State::Silent => false,
            State::BackplaneSilent => !is_backplane,
        };
        if changes.wait_for(passes).await.is_err() || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
