//! The life of access tokens: renewed a little before they end, or once when refused, by one caller of one process.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time,
};
use tracing::warn;
use url::Url;

use super::{
    Secret,
    endpoint::{AskError, AuthorizationRefused, Endpoint},
    tokens::{Refusal, SignIn, TokenLease, TokenSet, TokenStore, TokenStoreError},
};
use crate::Fault;

/// How long others are waited for that renew the token.
const PATIENCE: Duration = Duration::from_secs(45);
/// How often one looks whether they are done.
const LOOK: Duration = Duration::from_millis(100);
/// How often the lease is renewed while the vendor is asked.
const BEAT: Duration = Duration::from_secs(1);
/// How often new tokens are tried to be kept, a second apart: they exist nowhere else.
const SAVES: u32 = 30;
/// Waits after failures of the token endpoint, in seconds; the last one repeats.
const WAITS: [u64; 6] = [1, 5, 15, 60, 300, 600];

pub(crate) struct Renewal {
    endpoint: Endpoint,
    tokens: Arc<dyn TokenStore>,
    /// Held while a token is renewed: whoever comes second finds it renewed.
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    /// The generation that the vendor refused before its time.
    refused: Option<i64>,
    failures: usize,
    /// The endpoint is left alone until then, and why.
    rest: Option<(time::Instant, Fault)>,
}

#[derive(Clone)]
struct Live {
    header: String,
    generation: i64,
    until: time::Instant,
}

/// A header value and which token it was made of.
pub(crate) struct Authorization {
    pub(crate) value: String,
    generation: i64,
}

impl Authorization {
    pub(crate) fn fixed(value: &str) -> Self {
        Self { value: value.to_owned(), generation: 0 }
    }
}

impl Renewal {
    pub(super) fn new(endpoint: Endpoint, tokens: Arc<dyn TokenStore>) -> Self {
        Self { endpoint, tokens, state: Arc::default() }
    }

    pub(super) async fn header(self: &Arc<Self>) -> Result<Authorization, Fault> {
        let state = Arc::clone(&self.state).lock_owned().await;
        let now = time::Instant::now();
        let live = match state.live.clone().filter(|live| live.until > now) {
            Some(live) => live,
            None => {
                // Whoever stops waiting does not stop the renewal: what the vendor gives then would be lost.
                let renewing = Arc::clone(self);
                let renewed = tokio::spawn(async move { renewing.renew_locked(state).await }).await;
                renewed.map_err(|_| Fault::Transient { why: "the renewal of the token ended early".to_owned() })??
            }
        };
        Ok(Authorization { value: live.header, generation: live.generation })
    }

    pub(super) async fn forget(&self, authorization: &Authorization) {
        let mut state = self.state.lock().await;
        if state.live.as_ref().is_some_and(|live| live.generation == authorization.generation) {
            state.live = None;
            state.refused = Some(authorization.generation);
        }
    }

    /// Where a person allows the connection, but for what is new each time.
    pub(crate) fn authorization_page(&self, redirect_url: &str) -> Option<Url> {
        self.endpoint.authorization_page(redirect_url)
    }

    /// Takes the tokens that a person's authorization gives.
    pub(crate) async fn finish(
        self: &Arc<Self>,
        code: Secret,
        verifier: Secret,
        redirect_url: String,
    ) -> Result<(), AuthorizationRefused> {
        let mut state = Arc::clone(&self.state).lock_owned().await;
        let finishing = Arc::clone(self);
        let finished = tokio::spawn(async move {
            let lease = finishing.take_lease().await.map_err(AuthorizationRefused::Later)?;
            let asked = finishing.held(&lease, async {
                let sign_in = finishing.load().await?;
                finishing.endpoint.exchange(&sign_in.secrets, (&code, &verifier), &redirect_url).await
            });
            let saved = match asked.await {
                Ok(tokens) => finishing.save(&lease, &tokens).await.map_err(AuthorizationRefused::Later),
                Err(AskError::Refused(refusal)) => Err(AuthorizationRefused::Refused(refusal)),
                Err(AskError::Later { fault, .. }) => Err(AuthorizationRefused::Later(fault)),
            };
            finishing.give_back(&lease, true).await;
            *state = State { live: Some(saved?), ..State::default() };
            Ok(())
        });
        let early = |_| AuthorizationRefused::Later(Fault::Transient { why: "the exchange ended early".to_owned() });
        finished.await.map_err(early)?
    }

    async fn renew_locked(&self, mut state: OwnedMutexGuard<State>) -> Result<Live, Fault> {
        if let Some(fault) = state.rest_left(time::Instant::now()) {
            // Another process may have done better, or a person.
            let sign_in = self.tokens.load().await.map_err(unkept)?;
            return usable(&sign_in, state.refused)?.ok_or(fault);
        }
        let renewed = self.renew(state.refused).await;
        match &renewed {
            Ok(live) => *state = State { live: Some(live.clone()), ..State::default() },
            // Asking the store again costs little, and it says when a person has acted.
            Err(Fault::NeedsReauth) => {}
            Err(fault) => state.rest_after(fault),
        }
        renewed
    }

    async fn renew(&self, refused: Option<i64>) -> Result<Live, Fault> {
        let begun = time::Instant::now();
        loop {
            let sign_in = self.tokens.load().await.map_err(unkept)?;
            if let Some(live) = usable(&sign_in, refused)? {
                return Ok(live);
            }
            if let Some(lease) = self.tokens.lease().await.map_err(unkept)? {
                return self.renew_under(&lease, refused).await;
            }
            if begun.elapsed() > PATIENCE {
                return Err(Fault::Transient { why: "another process renews the token".to_owned() });
            }
            time::sleep(LOOK).await;
        }
    }

    async fn renew_under(&self, lease: &TokenLease, refused: Option<i64>) -> Result<Live, Fault> {
        let mut answered = true;
        let renewed = self.ask_and_save(lease, refused, &mut answered).await;
        self.give_back(lease, answered).await;
        renewed
    }

    async fn ask_and_save(&self, lease: &TokenLease, refused: Option<i64>, answered: &mut bool) -> Result<Live, Fault> {
        // Whoever had the lease before may have renewed the token since one looked.
        let sign_in = self.tokens.load().await.map_err(unkept)?;
        if let Some(live) = usable(&sign_in, refused)? {
            return Ok(live);
        }
        match self.held(lease, self.endpoint.ask(&sign_in)).await {
            Ok(tokens) => {
                *answered = false;
                let live = self.save(lease, &tokens).await?;
                *answered = true;
                Ok(live)
            }
            Err(AskError::Refused(refusal)) => Err(self.refused(lease, refusal).await),
            Err(AskError::Later { fault, answered: came }) => {
                *answered = came;
                Err(fault)
            }
        }
    }

    async fn refused(&self, lease: &TokenLease, refusal: Refusal) -> Fault {
        match self.tokens.refuse(lease, refusal).await {
            Ok(()) => Fault::NeedsReauth,
            Err(error) => unkept(error),
        }
    }

    async fn load(&self) -> Result<SignIn, AskError> {
        self.tokens.load().await.map_err(|error| AskError::Later { fault: unkept(error), answered: true })
    }

    async fn take_lease(&self) -> Result<TokenLease, Fault> {
        let begun = time::Instant::now();
        loop {
            if let Some(lease) = self.tokens.lease().await.map_err(unkept)? {
                return Ok(lease);
            }
            if begun.elapsed() > PATIENCE {
                return Err(Fault::Transient { why: "another process renews the token".to_owned() });
            }
            time::sleep(LOOK).await;
        }
    }

    /// Does the work while the lease is renewed. When it is lost the work goes on to its end, and is not kept.
    async fn held<T>(&self, lease: &TokenLease, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            // The work goes on while the lease is renewed.
            let kept = tokio::select! {
                done = &mut work => return done,
                kept = async { time::sleep(BEAT).await; self.tokens.keep(lease).await } => kept,
            };
            if !matches!(kept, Ok(true)) {
                warn!("the lease of a token could not be renewed");
            }
        }
    }

    /// Keeps new tokens, and only then lets them be used. A database that is away for a moment is waited for, since what
    /// the vendor gave cannot be asked for again.
    async fn save(&self, lease: &TokenLease, tokens: &TokenSet) -> Result<Live, Fault> {
        let mut tries = 0;
        let generation = loop {
            match self.tokens.save(lease, tokens).await {
                Ok(Some(generation)) => break generation,
                Ok(None) => {
                    return Err(Fault::Transient { why: "another process took over the renewal".to_owned() });
                }
                Err(error) if tries == SAVES => return Err(unkept(error)),
                Err(error) => warn!(%error, "new tokens could not be kept yet"),
            }
            tries += 1;
            time::sleep(BEAT).await;
        };
        Ok(live(&tokens.access, generation, tokens.good_for))
    }

    async fn give_back(&self, lease: &TokenLease, answered: bool) {
        if let Err(error) = self.tokens.release(lease, answered).await {
            warn!(%error, "the lease of a token could not be given back; it ends by itself");
        }
    }
}

/// The token that is kept, if it may be used.
fn usable(sign_in: &SignIn, refused: Option<i64>) -> Result<Option<Live>, Fault> {
    let kept = sign_in.tokens.as_ref();
    let kept = kept.filter(|kept| !kept.good_for.is_zero() && Some(kept.generation) != refused);
    match kept {
        Some(kept) if !sign_in.needs_person => Ok(Some(live(&kept.access, kept.generation, kept.good_for))),
        _ if sign_in.needs_person => Err(Fault::NeedsReauth),
        _ => Ok(None),
    }
}

fn live(access: &Secret, generation: i64, good_for: Duration) -> Live {
    Live { header: format!("Bearer {}", access.expose()), generation, until: time::Instant::now() + good_for }
}

fn unkept(error: TokenStoreError) -> Fault {
    Fault::Transient { why: format!("tokens cannot be kept: {error}") }
}

impl State {
    /// Why the endpoint is still left alone, if it is.
    fn rest_left(&self, now: time::Instant) -> Option<Fault> {
        let (until, fault) = self.rest.as_ref().filter(|(until, _)| *until > now)?;
        Some(match fault {
            Fault::Throttled { .. } => {
                let left = until.duration_since(now).as_millis();
                Fault::Throttled { retry_after_ms: i64::try_from(left).ok() }
            }
            fault => fault.clone(),
        })
    }

    fn rest_after(&mut self, fault: &Fault) {
        let ours = Duration::from_secs(WAITS[self.failures.min(WAITS.len() - 1)]);
        let wait = match fault {
            Fault::Throttled { retry_after_ms: Some(ms) } => Duration::from_millis(u64::try_from(*ms).unwrap_or(0)),
            _ => ours,
        };
        self.failures += 1;
        self.rest = Some((time::Instant::now() + wait, fault.clone()));
    }
}
