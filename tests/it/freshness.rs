//! Freshness as proof: how old the newest window is that was read to its end.

use crosstie_domain::integration::Entity;
use crosstie_sdk::HttpResponse;
use crosstie_store::integration::freshness_of;

use crate::support::{Crm, on_each_database};

#[tokio::test(flavor = "multi_thread")]
async fn freshness_is_the_age_of_the_newest_proof_and_late_past_its_objective() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let store = crm.app.store();
        let fresh = async || {
            let found = freshness_of(store, store.now(), &[crm.connection().record.id]).await.expect("read");
            let mut found = found.into_iter().filter(|one| one.entity == Entity::Opportunity);
            let one = found.next().expect("deals are read");
            (one.age_seconds, one.objective_seconds, one.late)
        };
        assert_eq!(fresh().await, (None, 900, false), "nothing is proven yet, and there is time");
        database.clock.advance(901_000);
        assert_eq!(fresh().await, (None, 900, true));
        crm.create("deals", "Rollout");
        crm.pull(Entity::Opportunity).await;
        assert_eq!(fresh().await, (Some(0), 900, false));
        database.clock.advance(600_000);
        // A run that does not reach the end of its window proves nothing.
        crm.fake().fail_next(HttpResponse::empty(500));
        crm.pull(Entity::Opportunity).await;
        assert_eq!(fresh().await, (Some(605), 900, false));
        // A record that a webhook brings is new, and proves nothing of the others.
        crm.lose_webhooks();
        crm.create("deals", "Upsell");
        crm.deliver().await;
        crm.work().await;
        assert_eq!(crm.opportunities().await.len(), 2);
        assert_eq!(fresh().await, (Some(605), 900, false));
        database.clock.advance(300_000);
        assert_eq!(fresh().await, (Some(905), 900, true));
        crm.pull(Entity::Opportunity).await;
        assert_eq!(fresh().await, (Some(0), 900, false));
    })
    .await;
}
