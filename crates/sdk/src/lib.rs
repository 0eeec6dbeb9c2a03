#![doc = include_str!("../README.md")]

mod connector;
mod custom;
mod descriptor;
mod fake;
mod fault;
mod inbound;
mod items;
mod net;
mod reader;
mod redact;
pub mod signature;
pub mod standard_webhooks;
mod update;
mod writer;

pub use connector::{Connector, Settings, SettingsError, WhoAmI};
pub use crosstie_domain as domain;
pub use custom::{CUSTOM_FIELDS, CustomFields, Whole};
pub use descriptor::{AuthMode, Descriptor, RateBudget, ReadEntity, WriteEntity};
pub use fake::{FakeVendor, MemoryTransport};
pub use fault::{Fault, FieldError};
pub use inbound::{Acknowledgment, Delivery, Inbound, Malformed, Nudge, Verified};
pub use items::{ItemEntry, ItemMapping, UnknownCodes};
pub use net::{
    Answer, AuthorizationRefused, Call, ClientAuth, ClientSecrets, Credentials, Egress, EgressAnswer, EgressError,
    EgressRequest, Grant, HttpEgress, HttpRequest, HttpResponse, KeptTokens, MemoryTokens, Method, Net, NetError,
    NetOptions, OAuthClient, Refusal, ReqwestTransport, Secret, SignIn, TokenLease, TokenSet, TokenStore,
    TokenStoreError, Transport, TransportError,
};
pub use net::{Priority, Quotas, Sending, fault_code};
pub use reader::{
    AnyReader, Ask, Bag, Deletes, MappedPage, MappedRow, More, Observed, Order, Page, Reader, Row, RowKey, Unmappable,
    fingerprint,
};
pub use redact::{REDACTED, Redactor};
pub use update::{Comparison, FieldChange};
pub use writer::{WriteRequest, WriteSafety, Writer, Written};
