//! What a connection does next, when, and why it waits.

use async_graphql::SimpleObject;
use crosstie_domain::{
    access::Sensitivity,
    integration::{PlannedStep as Step, WaitReason as Reason},
};

use crate::access::sensitivity;

/// One reason why a step waits.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct WaitReason {
    #[graphql(flatten)]
    reason: Reason,
}

/// One thing that a connection does, how it stands, and why it waits.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct PlannedStep {
    #[graphql(flatten)]
    step: Step,
    /// Why it waits; empty when it does not.
    reasons: Vec<WaitReason>,
}

impl From<Step> for PlannedStep {
    fn from(mut step: Step) -> Self {
        let reasons = std::mem::take(&mut step.reasons);
        Self { step, reasons: reasons.into_iter().map(|reason| WaitReason { reason }).collect() }
    }
}
