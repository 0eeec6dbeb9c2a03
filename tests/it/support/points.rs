//! The points at which a process can die or lose an answer: both sides of every commit and of every request to another
//! system. A test counts them in one life, and in each of the lives after it lets the process end at the next one.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use crosstie_sdk::{
    Egress, EgressAnswer, EgressError, EgressRequest, HttpRequest, HttpResponse, Transport, TransportError,
    domain::Instant,
};
use crosstie_store::{CommitPoint, CommitWatch};
use tokio::sync::Notify;

/// How a life ends, or what goes wrong in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing.
    Lives,
    /// The process dies at the point of this number, counted from 0.
    DiesAt(usize),
    /// The process dies when its work was polled so often: each time it waited for something before counts.
    DiesAfterPolls(usize),
    /// The request before or after which the point of this number lies fails, and the process lives.
    LosesAnswerAt(usize),
}

/// What one life of a process reaches.
pub(crate) struct Points {
    fate: Fate,
    reached: Mutex<Vec<String>>,
    died: Notify,
}

impl Points {
    pub(crate) fn new(fate: Fate) -> Arc<Self> {
        Arc::new(Self { fate, reached: Mutex::default(), died: Notify::new() })
    }

    /// The points that were reached, in their order.
    pub(crate) fn reached(&self) -> Vec<String> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a point; its number.
    fn count(&self, name: String) -> usize {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.push(name);
        reached.len() - 1
    }

    /// Counts a point, and does not return where the process dies; nothing else that it does goes on either.
    async fn reach(&self, name: String) -> usize {
        let number = self.count(name);
        if let Fate::DiesAt(at) = self.fate
            && number >= at
        {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        number
    }

    fn loses(&self, number: usize) -> bool {
        self.fate == Fate::LosesAnswerAt(number)
    }

    /// Runs a life in a runtime of its own, which ends with everything that is under way in it; `None` when it died.
    pub(crate) async fn live<T, F>(self: &Arc<Self>, life: impl FnOnce() -> F + Send + 'static) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let points = Arc::clone(self);
        let lived = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let ended = runtime.block_on(async {
                let life = Polled { work: Box::pin(life()), polls: 0, most: points.most_polls() };
                tokio::select! {
                    biased;
                    () = points.died.notified() => None,
                    ended = life => ended,
                }
            });
            drop(runtime);
            ended
        });
        match lived.await {
            Ok(ended) => ended,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn most_polls(&self) -> usize {
        match self.fate {
            Fate::DiesAfterPolls(polls) => polls,
            Fate::Lives | Fate::DiesAt(_) | Fate::LosesAnswerAt(_) => usize::MAX,
        }
    }
}

impl CommitWatch for Points {
    fn reached(&self, point: CommitPoint) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.reach(point.to_string()).await;
        })
    }
}

/// Work that ends without a result when it was polled so often.
struct Polled<F> {
    work: Pin<Box<F>>,
    polls: usize,
    most: usize,
}

impl<F: Future> Future for Polled<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == self.most {
            return Poll::Ready(None);
        }
        self.polls += 1;
        self.work.as_mut().poll(context).map(Some)
    }
}

/// A way to another system with a point on each side of every request.
pub(crate) struct Pointed<T> {
    pub(crate) way: T,
    pub(crate) points: Arc<Points>,
}

/// What a request is called: its method, and its path without the parts that differ between two lives.
fn name(side: &str, method: &str, url: &str) -> String {
    let path = url.split('?').next().unwrap_or(url);
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let is_id = |part: &str| part.len() > 2 && part.bytes().any(|byte| byte.is_ascii_digit());
    let parts = path.split('/').skip(1).map(|part| if is_id(part) { "…" } else { part });
    format!("{side} {method} /{}", parts.collect::<Vec<_>>().join("/"))
}

#[async_trait::async_trait]
impl<T: Transport> Transport for Pointed<T> {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let (method, url) = (request.method.as_str(), request.url.clone());
        if self.points.loses(self.points.reach(name("before", method, &url)).await) {
            return Err(TransportError::NotSent("no way there".to_owned()));
        }
        let answer = self.way.send(request).await;
        if self.points.loses(self.points.reach(name("after", method, &url)).await) {
            return Err(TransportError::AnswerLost("the line broke".to_owned()));
        }
        answer
    }

    fn now(&self) -> Option<Instant> {
        self.way.now()
    }
}

#[async_trait::async_trait]
impl<T: Egress> Egress for Pointed<T> {
    async fn post(&self, request: EgressRequest) -> Result<EgressAnswer, EgressError> {
        let url = request.url.clone();
        if self.points.loses(self.points.reach(name("before", "POST", &url)).await) {
            return Err(EgressError::NotSent("no way there".to_owned()));
        }
        let answer = self.way.post(request).await;
        if self.points.loses(self.points.reach(name("after", "POST", &url)).await) {
            return Err(EgressError::AnswerLost("the line broke".to_owned()));
        }
        answer
    }
}
