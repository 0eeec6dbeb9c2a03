//! Edges, loaded by level.
//!
//! Objects that came out of one query are siblings and share a [`Level`]. The first sibling that is asked for an edge
//! loads it for all of them in one query, and what it finds is the next level. So the number of queries follows the
//! number of edges in the document, never the number of objects, at any depth and without a timer.

use std::{
    any::Any,
    collections::HashMap,
    future::Future,
    hash::Hash,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use crosstie_store::StoreError;
use tokio::sync::OnceCell;

use crate::error::ApiError;

/// Keys in one statement; SQLite takes at most 32,766 values.
const KEYS_AT_ONCE: usize = 10_000;

/// The name of an edge and its arguments.
pub(crate) type EdgeKey = (&'static str, String);

/// The siblings that came out of one query, and the edges that were loaded for them.
struct Level<R> {
    records: Vec<R>,
    edges: Mutex<HashMap<EdgeKey, Arc<dyn Any + Send + Sync>>>,
}

/// A record among its siblings.
pub(crate) struct Item<R> {
    level: Arc<Level<R>>,
    index: usize,
}

/// The other ends of an edge for a whole level.
struct Reached<K, C> {
    level: Arc<Level<C>>,
    places: HashMap<K, Vec<usize>>,
}

/// Makes siblings of the records of one query.
pub(crate) fn level<R>(records: Vec<R>) -> impl Iterator<Item = Item<R>> {
    let level = Arc::new(Level { records, edges: Mutex::default() });
    (0..level.records.len()).map(move |index| Item { level: Arc::clone(&level), index })
}

/// Pairs each record with the key under which its parent finds it.
pub(crate) fn keyed<K, C>(records: Vec<C>, key: impl Fn(&C) -> K) -> Vec<(K, C)> {
    records.into_iter().map(|record| (key(&record), record)).collect()
}

impl<R> Clone for Item<R> {
    fn clone(&self) -> Self {
        Self { level: Arc::clone(&self.level), index: self.index }
    }
}

impl<R> Deref for Item<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.level.records[self.index]
    }
}

impl<R> Item<R> {
    /// What this record reaches over an edge. `key` says under which key a sibling finds its own, `load` finds the
    /// records of many keys.
    pub(crate) async fn many<K, C, F>(
        &self,
        edge: EdgeKey,
        key: impl Fn(&R) -> Option<K>,
        load: impl Fn(Vec<K>) -> F,
    ) -> async_graphql::Result<Vec<Item<C>>>
    where
        K: Clone + Ord + Hash + Send + Sync + 'static,
        C: Send + Sync + 'static,
        F: Future<Output = Result<Vec<(K, C)>, StoreError>>,
    {
        let Some(own) = key(self) else { return Ok(Vec::new()) };
        let cell = self.level.cell::<Result<Reached<K, C>, ApiError>>(edge);
        let reached = cell.get_or_init(|| self.level.reach(&key, &load)).await;
        match reached {
            Ok(reached) => Ok(reached.items(&own)),
            Err(error) => Err(error.clone().into_graphql()),
        }
    }

    /// The same for an edge with at most one other end.
    pub(crate) async fn one<K, C, F>(
        &self,
        edge: &'static str,
        key: impl Fn(&R) -> Option<K>,
        load: impl Fn(Vec<K>) -> F,
    ) -> async_graphql::Result<Option<Item<C>>>
    where
        K: Clone + Ord + Hash + Send + Sync + 'static,
        C: Send + Sync + 'static,
        F: Future<Output = Result<Vec<(K, C)>, StoreError>>,
    {
        Ok(self.many((edge, String::new()), key, load).await?.into_iter().next())
    }
}

impl<R> Level<R> {
    fn cell<T: Send + Sync + 'static>(&self, edge: EdgeKey) -> Arc<OnceCell<T>> {
        let mut edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = edges.entry(edge).or_insert_with(|| Arc::new(OnceCell::<T>::new()));
        Arc::clone(cell).downcast().expect("an edge of one name has one type")
    }

    async fn reach<K, C, F>(
        &self,
        key: impl Fn(&R) -> Option<K>,
        load: impl Fn(Vec<K>) -> F,
    ) -> Result<Reached<K, C>, ApiError>
    where
        K: Clone + Ord + Hash,
        F: Future<Output = Result<Vec<(K, C)>, StoreError>>,
    {
        let mut keys: Vec<K> = self.records.iter().filter_map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut places: HashMap<K, Vec<usize>> = HashMap::new();
        let mut records = Vec::new();
        for chunk in keys.chunks(KEYS_AT_ONCE) {
            for (key, record) in load(chunk.to_vec()).await? {
                places.entry(key).or_default().push(records.len());
                records.push(record);
            }
        }
        Ok(Reached { level: Arc::new(Level { records, edges: Mutex::default() }), places })
    }
}

impl<K: Eq + Hash, C> Reached<K, C> {
    fn items(&self, key: &K) -> Vec<Item<C>> {
        let places = self.places.get(key).map_or(&[][..], Vec::as_slice);
        places.iter().map(|index| Item { level: Arc::clone(&self.level), index: *index }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{keyed, level};

    #[tokio::test]
    async fn an_edge_is_loaded_once_for_all_siblings() {
        let loads = AtomicUsize::new(0);
        let parents: Vec<_> = level(vec![1, 2, 2, 3]).collect();
        let mut reached = Vec::new();
        for parent in &parents {
            let children = parent
                .many(
                    ("doubles", String::new()),
                    |number| (*number < 3).then_some(*number),
                    |keys| {
                        loads.fetch_add(1, Ordering::SeqCst);
                        async move { Ok(keyed(keys, |key| *key)) }
                    },
                )
                .await
                .expect("the edge loads");
            reached.push(children.iter().map(|child| **child).collect::<Vec<i32>>());
        }
        assert_eq!(reached, vec![vec![1], vec![2], vec![2], vec![]]);
        assert_eq!(loads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_failure_is_not_tried_again_by_each_sibling() {
        let loads = AtomicUsize::new(0);
        for parent in level(vec![1, 2]) {
            let found = parent
                .one::<i32, i32, _>(
                    "broken",
                    |number| Some(*number),
                    |_| {
                        loads.fetch_add(1, Ordering::SeqCst);
                        async { Err(crosstie_store::StoreError::Closed) }
                    },
                )
                .await;
            assert!(found.is_err());
        }
        assert_eq!(loads.load(Ordering::SeqCst), 1);
    }
}
