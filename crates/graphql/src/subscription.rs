//! What changes, as it changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::RangeInclusive,
    time::Duration,
};

use async_graphql::{Context, Error, ID, Result, SimpleObject, Subscription};
use crosstie_app::{App, AppError};
use crosstie_domain::{
    access::{AuthContext, Permission, Sensitivity},
    integration::Entity,
};
use crosstie_store::{
    StoreError,
    integration::{PlacedChange, changes_after, first_position, last_position},
};
use futures::{Stream, stream};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::{
    access::{Access, READ_OF_TYPE, app, asker, requires, sensitivity, store_failed},
    error::ApiError,
    listing::bad_input,
    node::{Node, NodeType, load_for},
    request_headers::resume_after,
};

/// Changes read at once.
const PAGE: i64 = 100;
/// How long a token counts as good without a look at it.
const CHECK_EVERY: Duration = Duration::from_secs(30);
/// Records in one subscription that names them, at most.
const MOST_RECORDS: usize = 500;

/// The root of subscriptions.
#[derive(Default)]
pub struct SubscriptionRoot;

/// A change of a record.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct EntityChange {
    /// The place of the change in the order that all subscribers see. Give it back as `after` to go on from here.
    event_id: String,
    /// When it happened.
    occurred_at: crosstie_domain::Instant,
    /// What happened, such as `sow_signed`. New values may appear.
    event: String,
    /// The kind of record.
    #[graphql(name = "type")]
    entity: Entity,
    /// The identifier of the record.
    record_id: ID,
    /// The record as it stands now, as far as you may see it.
    node: Option<Node>,
}

/// Subscriptions.
#[Subscription(name = "Subscription")]
impl SubscriptionRoot {
    /// Changes of records that you may see, from now on or after the one that you saw last.
    #[graphql(directive = requires::apply(READ_OF_TYPE.to_owned()))]
    async fn entity_changed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only changes of these kinds of record; all that you may see when it is left out.")]
        types: Option<Vec<Entity>>,
        #[graphql(desc = "Only changes of these records, at most 500.")] ids: Option<Vec<ID>>,
        #[graphql(desc = "The `eventId` that you saw last; what came after it is sent first.")] after: Option<String>,
    ) -> Result<impl Stream<Item = Result<EntityChange>>> {
        let auth = asker(ctx)?.clone();
        let app = app(ctx)?;
        let placed = app.changes().subscribe();
        let kinds = kinds(&auth, types)?;
        if ids.as_ref().is_some_and(|ids| ids.len() > MOST_RECORDS) {
            let message = format!("`ids` takes at most {MOST_RECORDS} identifiers.");
            return Err(bad_input("ids", message).into_graphql());
        }
        let last = last_position(app.store()).await.map_err(store_failed)?;
        let position = match resume_after(ctx, after) {
            Some(after) => {
                let first = first_position(app.store()).await.map_err(store_failed)?;
                read_position(&after, (first - 1).max(0)..=last).map_err(ApiError::into_graphql)?
            }
            None => last,
        };
        let ids = ids.map(|ids| ids.into_iter().map(|id| id.0).collect());
        let waiting = VecDeque::new();
        let feed = Feed { auth, app: app.clone(), checked_at: Instant::now(), placed, position, kinds, ids, waiting };
        Ok(stream::unfold(Some(feed), |feed| async move {
            let mut feed = feed?;
            match feed.next().await? {
                Ok(change) => Some((Ok(change), Some(feed))),
                Err(error) => Some((Err(error.into_graphql()), None)),
            }
        }))
    }
}

/// The kinds of record that are followed: those that were asked for, or all that the asker may see.
fn kinds(auth: &AuthContext, types: Option<Vec<Entity>>) -> Result<BTreeSet<Entity>, Error> {
    let permission = |entity: Entity| NodeType::from(entity).permission();
    let forbidden = |permission: Permission| ApiError::Forbidden { permission: permission.as_str() }.into_graphql();
    if let Some(types) = types {
        if let Some(hidden) = types.iter().find(|entity| !auth.may(permission(**entity))) {
            return Err(forbidden(permission(*hidden)));
        }
        return Ok(types.into_iter().collect());
    }
    let all = Entity::ALL.iter().map(|(entity, _)| *entity);
    let seen: BTreeSet<Entity> = all.filter(|entity| auth.may(permission(*entity))).collect();
    if seen.is_empty() { Err(forbidden(Permission::PipelineRead)) } else { Ok(seen) }
}

/// A place from which nothing is missing: what came after it is still kept, and it does not lie ahead of all that there
/// is, as one may after a backup was restored.
fn read_position(after: &str, kept: RangeInclusive<i64>) -> Result<i64, ApiError> {
    after.parse().ok().filter(|position| kept.contains(position)).ok_or(ApiError::BadCursor)
}

/// The changes that one subscriber still has to see.
struct Feed {
    auth: AuthContext,
    app: App,
    /// When it was last found out that the token is still good.
    checked_at: Instant,
    placed: watch::Receiver<i64>,
    position: i64,
    kinds: BTreeSet<Entity>,
    ids: Option<BTreeSet<String>>,
    waiting: VecDeque<EntityChange>,
}

impl Feed {
    async fn next(&mut self) -> Option<Result<EntityChange, ApiError>> {
        loop {
            if let Some(change) = self.waiting.pop_front() {
                return Some(Ok(change));
            }
            if self.until_check().is_zero()
                && let Err(error) = self.check().await
            {
                return Some(Err(error));
            }
            // Whatever gets its place after this look wakes us again, so nothing is missed between look and wait.
            self.placed.borrow_and_update();
            match self.read().await {
                Ok(true) => {}
                Ok(false) => {
                    if let Ok(changed) = timeout(self.until_check(), self.placed.changed()).await {
                        changed.ok()?;
                    }
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
    }

    /// How long it may wait until the token is looked at again: not past its end.
    fn until_check(&self) -> Duration {
        let next = CHECK_EVERY.saturating_sub(self.checked_at.elapsed());
        let left = self.auth.expires_at.map(|end| end.ms_since(self.app.store().now()).max(0));
        left.map_or(next, |left| next.min(Duration::from_millis(left.unsigned_abs())))
    }

    /// Ends the stream when the token ended, was revoked, or shows another part of the graph than at the start.
    async fn check(&mut self) -> Result<(), ApiError> {
        let still_good = self.app.holds(&self.auth).await.map_err(|AppError::Store(error)| error)?;
        self.checked_at = Instant::now();
        if still_good { Ok(()) } else { Err(ApiError::TokenChanged) }
    }

    /// Reads the next page; says whether there was one.
    async fn read(&mut self) -> Result<bool, StoreError> {
        let page = changes_after(self.app.store(), self.position, PAGE).await?;
        let Some(last) = page.last() else { return Ok(false) };
        let position = last.position;
        self.waiting = self.visible(page).await?;
        self.position = position;
        Ok(true)
    }

    /// The changes of records that this subscriber asked for and may see, with the records as they stand now.
    async fn visible(&self, page: Vec<PlacedChange>) -> Result<VecDeque<EntityChange>, StoreError> {
        let asked = |change: &PlacedChange| {
            self.kinds.contains(&change.entity) && self.ids.as_ref().is_none_or(|ids| ids.contains(&change.id))
        };
        let page: Vec<PlacedChange> = page.into_iter().filter(asked).collect();
        let mut by_kind: BTreeMap<Entity, BTreeSet<&str>> = BTreeMap::new();
        for change in &page {
            by_kind.entry(change.entity).or_default().insert(&change.id);
        }
        let found = Access { auth: &self.auth, rows: &self.auth.rows, store: self.app.store() };
        let mut nodes: HashMap<String, Node> = HashMap::new();
        for (entity, ids) in by_kind {
            let ids: Vec<&str> = ids.into_iter().collect();
            nodes.extend(load_for(found, entity.into(), &ids).await?);
        }
        let changes = page.into_iter().filter_map(|change| {
            let node = nodes.get(&change.id)?.clone();
            Some(EntityChange {
                event_id: change.position.to_string(),
                occurred_at: change.occurred_at,
                event: change.event,
                entity: change.entity,
                record_id: ID(change.id),
                node: Some(node),
            })
        });
        Ok(changes.collect())
    }
}
