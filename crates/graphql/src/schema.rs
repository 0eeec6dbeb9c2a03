//! The roots of the graph and the schema that they make.

use async_graphql::{MergedObject, SDLExportOptions, Schema, SchemaBuilder};
use crosstie_app::App;

use crate::{
    billing::BillingQueries,
    contracts::{SowMutations, SowQueries},
    delivery::MilestoneMutations,
    error_propagation::ErrorPropagation,
    gateway::Gateway,
    integration::{FailureMutations, FailureQueries, IntegrationMutations, IntegrationQueries, ReadingMutations},
    node::NodeQueries,
    pipeline::PipelineQueries,
    subscription::SubscriptionRoot,
};

/// Queries.
#[derive(MergedObject, Default)]
#[graphql(name = "Query")]
pub struct QueryRoot(NodeQueries, PipelineQueries, SowQueries, BillingQueries, IntegrationQueries, FailureQueries);

/// Mutations.
#[derive(MergedObject, Default)]
#[graphql(name = "Mutation")]
pub struct MutationRoot(SowMutations, MilestoneMutations, IntegrationMutations, ReadingMutations, FailureMutations);

/// The schema of the hub.
pub type GraphSchema = Schema<QueryRoot, MutationRoot, SubscriptionRoot>;

/// The schema over the use cases.
pub fn schema(app: App) -> GraphSchema {
    builder().data(app).finish()
}

/// The way into the graph over the use cases.
pub fn gateway(app: App) -> Gateway {
    Gateway::new(schema(app))
}

/// The schema in the schema definition language, as it stands in `graphql/schema.graphql`.
pub fn sdl() -> String {
    let options = SDLExportOptions::new()
        .sorted_fields()
        .sorted_arguments()
        .sorted_enum_items()
        .include_specified_by()
        .prefer_single_line_descriptions()
        .use_space_ident();
    let text = builder().finish().sdl_with_options(options);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    format!("{}\n", lines.join("\n").trim_end())
}

/// Depth, size and cost are limited before execution by the request guard, so the limits of the engine are off.
fn builder() -> SchemaBuilder<QueryRoot, MutationRoot, SubscriptionRoot> {
    Schema::build(QueryRoot::default(), MutationRoot::default(), SubscriptionRoot).extension(ErrorPropagation)
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
