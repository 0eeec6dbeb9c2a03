//! Orders and invoices; values of parties are set in `update.rs`. Each document begins as a draft that carries the hub's key in `reference`; one draft is kept, the
//! others are discarded, and only then is it moved on, so that a key has one effect however often it is applied.

use std::collections::BTreeMap;

use async_trait::async_trait;
use crosstie_sdk::{
    Bag, Fault, Net, Reader, Row, Settings, WriteRequest, Writer, Written,
    domain::{
        ItemCode, Money,
        integration::{Customer, Intent, IntentKind, IssueInvoice, PlaceOrder},
    },
};
use serde_json::{Map, Value, json};

use crate::{
    account, invoice,
    invoice::InvoiceReader,
    items::{self, Item, Items},
    rest::{Rest, Search, number},
    sale, update,
    wire::{self, Address, CustomerTerms, Decimal, DefaultAccounts, Document, DraftLine, Id, Product},
};

/// Places orders and issues invoices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrytonWriter;

/// How a kind of document goes from draft to finished.
struct Course {
    model: &'static str,
    /// State and the button that leads on from it.
    steps: &'static [(&'static str, &'static str)],
    finished: &'static [&'static str],
    /// Model of its lines, the field that names the document, and what item codes decide of a line.
    lines: (&'static str, &'static str, &'static [&'static str]),
}

const SALE: Course = Course {
    model: sale::MODEL,
    steps: &[("draft", "quote"), ("quotation", "confirm"), ("confirmed", "process")],
    finished: &["processing", "done"],
    lines: ("sale.line", "sale", &["product", "taxes"]),
};
const INVOICE: Course = Course {
    model: invoice::MODEL,
    steps: &[("draft", "post"), ("validated", "post")],
    finished: &["posted", "paid"],
    lines: ("account.invoice.line", "invoice", &["product", "account", "taxes"]),
};
const DRAFT: &str = "draft";
const CANCELLED: &str = "cancelled";

/// How often the drafts of a key are looked at again when another writer got in between.
const ROUNDS: u32 = 5;
/// How many documents of one key are looked at; more than one is rare.
const MOST_OF_ONE_KEY: u32 = 100;
/// How many lines of a draft are looked at; a statement of work has 500 at most.
const MOST_LINES: u32 = 600;

#[async_trait]
impl Writer for TrytonWriter {
    async fn apply(&self, net: &Net, request: &WriteRequest) -> Result<Written, Fault> {
        if let Intent::UpdateRecord(wanted) = &request.intent {
            return update::apply(net, wanted).await;
        }
        let rest = Rest::of(net)?;
        let course = Course::of(request)?;
        let items = match items::of(&rest, request).await {
            Ok(items) => items,
            // What an earlier call has finished stands, whatever the settings name now.
            Err(refusal @ (Fault::Rejected { .. } | Fault::ItemNotMapped { .. })) => {
                return self.find(net, request).await?.ok_or(refusal);
            }
            Err(fault) => return Err(fault),
        };
        let mut kept = course.settle(&rest, request, &items).await?;
        if kept.is_none() {
            rest.create(course.model, &draft(&rest, request, &items).await?).await?;
            kept = course.settle(&rest, request, &items).await?;
        }
        let kept = kept.ok_or_else(|| Fault::Transient { why: "the draft is not to be seen yet".to_owned() })?;
        course.written(net, kept).await
    }

    fn line_codes(
        &self,
        settings: &Settings,
        kind: IntentKind,
        item_code: Option<&ItemCode>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        match kind {
            IntentKind::PlaceOrder | IntentKind::IssueInvoice => items::codes(settings, item_code),
            IntentKind::UpdateRecord => Ok(BTreeMap::new()),
        }
    }

    async fn find(&self, net: &Net, request: &WriteRequest) -> Result<Option<Written>, Fault> {
        if let Intent::UpdateRecord(wanted) = &request.intent {
            return update::find(net, wanted).await;
        }
        let course = Course::of(request)?;
        let documents = course.documents(&Rest::of(net)?, request).await?;
        match documents.into_iter().find(|document| course.finished.contains(&document.state.as_str())) {
            Some(document) => course.written(net, document).await.map(Some),
            None => Ok(None),
        }
    }
}

impl Course {
    fn of(request: &WriteRequest) -> Result<&'static Self, Fault> {
        match request.intent.kind() {
            IntentKind::PlaceOrder => Ok(&SALE),
            IntentKind::IssueInvoice => Ok(&INVOICE),
            IntentKind::UpdateRecord => Err(Fault::Unsupported),
        }
    }

    /// All documents that carry the key, oldest first.
    async fn documents(&self, rest: &Rest<'_>, request: &WriteRequest) -> Result<Vec<Document>, Fault> {
        let mut domain =
            vec![json!(["reference", "=", request.key.as_str()]), json!(["company", "=", rest.settings.company])];
        if self.model == invoice::MODEL {
            domain.push(json!(["type", "=", "out"]));
        }
        let search = Search {
            model: self.model,
            fields: &["state", "party"],
            domain: Value::Array(domain),
            order: json!([["id", "ASC"]]),
            size: MOST_OF_ONE_KEY,
        };
        rest.search(search).await?.into_iter().map(wire::read).collect()
    }

    /// Brings the documents of the key down to one and that one to its end; `None` when there is none.
    ///
    /// A document that was moved on wins over drafts, and the oldest draft over the others. Drafts are discarded
    /// before any is moved on. When two writers meet, one of them finds its draft gone or the other's moved on, and
    /// looks again.
    async fn settle(&self, rest: &Rest<'_>, request: &WriteRequest, items: &Items) -> Result<Option<Document>, Fault> {
        let mut refusal = None;
        'look: for _ in 0..ROUNDS {
            let documents = self.documents(rest, request).await?;
            let Some(kept) = choose(&documents)? else { return Ok(None) };
            // A draft of before the settings changed is made anew.
            let is_stale = kept.state == DRAFT && !self.is_as_mapped(rest, (kept.id, request), items).await?;
            let discarded = |other: &&Document| other.id != kept.id || is_stale;
            for other in documents.iter().filter(|other| other.state == DRAFT).filter(discarded) {
                match rest.delete(self.model, other.id).await {
                    Ok(()) => {}
                    Err(fault @ (Fault::Rejected { .. } | Fault::Stale)) => {
                        refusal = Some(fault);
                        continue 'look;
                    }
                    Err(fault) => return Err(fault),
                }
            }
            if is_stale {
                return Ok(None);
            }
            match self.advance(rest, kept.id).await {
                Err(Fault::Gone) => {}
                ended => return ended.map(Some),
            }
        }
        Err(refusal.unwrap_or_else(|| Fault::Transient { why: "other writers keep getting in between".to_owned() }))
    }

    /// Whether the lines of a draft have the products, accounts and taxes that the settings name. What they do not name is
    /// not looked at.
    async fn is_as_mapped(
        &self,
        rest: &Rest<'_>,
        (id, request): (i64, &WriteRequest),
        items: &Items,
    ) -> Result<bool, Fault> {
        if !items.values().any(|item| item.is_mapped) {
            return Ok(true);
        }
        let search = Search {
            model: self.lines.0,
            fields: self.lines.2,
            domain: json!([[self.lines.1, "=", id]]),
            order: json!([["id", "ASC"]]),
            size: MOST_LINES,
        };
        let lines = rest.search(search).await?.into_iter().map(wire::read).collect::<Result<Vec<DraftLine>, _>>()?;
        let told = |product: Option<i64>, mut taxes: Vec<i64>| {
            taxes.sort_unstable();
            (product, taxes)
        };
        let mut has: Vec<_> =
            lines.iter().map(|line| told(line.product, line.taxes.clone().unwrap_or_default())).collect();
        let wanted = request.intent.lines().into_iter().filter_map(|(_, code)| items.get(&code.cloned()));
        let mut should: Vec<_> = wanted.map(|item| told(item.product, item.taxes.clone())).collect();
        has.sort_unstable();
        should.sort_unstable();
        // Of an invoice, which has one line, the account counts, too.
        let account = items.values().find_map(|item| item.account).filter(|_| self.model == invoice::MODEL);
        Ok(has == should && account.is_none_or(|account| lines.iter().all(|line| line.account == Some(account))))
    }

    /// Presses one button after the other. A refusal counts only when the state stayed as it was: the button may
    /// have been pressed by an earlier call or by somebody else.
    async fn advance(&self, rest: &Rest<'_>, id: i64) -> Result<Document, Fault> {
        let mut refused: Option<(String, Fault)> = None;
        for _ in 0..=self.steps.len() * 2 {
            let document: Document = wire::read(rest.read(self.model, id, &["state", "party"]).await?)?;
            let state = document.state.as_str();
            if self.finished.contains(&state) {
                return Ok(document);
            }
            if let Some((_, fault)) = refused.take_if(|(before, _)| before == state) {
                return Err(fault);
            }
            if state == CANCELLED {
                return Err(withdrawn());
            }
            let step = self.steps.iter().find(|(from, _)| *from == state);
            let Some((_, button)) = step else {
                return Err(Fault::Shape { path: "state".to_owned(), why: format!("unknown state {state:?}") });
            };
            match rest.press(self.model, id, button).await {
                Ok(()) => {}
                Err(fault @ (Fault::Rejected { .. } | Fault::Stale)) => refused = Some((document.state, fault)),
                Err(fault) => return Err(fault),
            }
        }
        Err(Fault::Transient { why: format!("{} {id} does not come to its end", self.model) })
    }

    async fn written(&self, net: &Net, document: Document) -> Result<Written, Fault> {
        let remote_id = document.id.to_string();
        let customer_remote_id = Some(document.party.to_string());
        let (remote_version, claim) = match self.model {
            invoice::MODEL => match InvoiceReader.one(net, &remote_id).await? {
                Row::Ok { wire, .. } => {
                    let claim = InvoiceReader.map(&wire, &net.settings(), &mut Bag::default()).ok();
                    (InvoiceReader.key(&wire).version, claim)
                }
                Row::Bad { .. } | Row::Gone { .. } => (None, None),
            },
            _ => (None, None),
        };
        Ok(Written { remote_id, remote_version, customer_remote_id, claim })
    }
}

/// The document to keep, if there is any. When all were cancelled a person has said that it shall not be.
fn choose(documents: &[Document]) -> Result<Option<&Document>, Fault> {
    let live = || documents.iter().filter(|document| document.state != CANCELLED);
    match live().find(|document| document.state != DRAFT).or_else(|| live().next()) {
        None if !documents.is_empty() => Err(withdrawn()),
        kept => Ok(kept),
    }
}

fn withdrawn() -> Fault {
    Fault::rejected("state", "it was cancelled in Tryton")
}

/// The document as it is first made.
async fn draft(rest: &Rest<'_>, request: &WriteRequest, items: &Items) -> Result<Value, Fault> {
    match &request.intent {
        Intent::PlaceOrder(order) => {
            let party = customer(rest, request, &order.customer).await?;
            order_draft(rest, (request, order, party), items).await
        }
        Intent::IssueInvoice(invoice) => {
            let party = customer(rest, request, &invoice.customer).await?;
            invoice_draft(rest, (request, invoice, party), items).await
        }
        Intent::UpdateRecord(_) => Err(Fault::Unsupported),
    }
}

/// The party of the customer. One that the hub does not know yet is made with the account's id as its code, which
/// Tryton keeps unique: it is made once.
async fn customer(rest: &Rest<'_>, request: &WriteRequest, customer: &Customer) -> Result<i64, Fault> {
    if let Some(known) = &request.customer_remote_id {
        return number(known).map_err(|_| Fault::rejected("party", format!("{known:?} is no id of a party")));
    }
    let Customer { account, name, email } = customer;
    if let Some(party) = party_by_code(rest, &account.to_string()).await? {
        return Ok(party);
    }
    let mut party = json!({ "name": name, "code": account, "addresses": [["create", [{}]]] });
    if let Some(email) = email {
        party["contact_mechanisms"] = json!([["create", [{ "type": "email", "value": email }]]]);
    }
    match rest.create(account::MODEL, &party).await {
        Err(refusal @ Fault::Rejected { .. }) => party_by_code(rest, &account.to_string()).await?.ok_or(refusal),
        made => made,
    }
}

async fn party_by_code(rest: &Rest<'_>, code: &str) -> Result<Option<i64>, Fault> {
    first_id(rest, account::MODEL, json!([["code", "=", code]])).await
}

/// What orders and invoices have in common.
async fn document(
    rest: &Rest<'_>,
    request: &WriteRequest,
    party: i64,
    money: Money,
) -> Result<Map<String, Value>, Fault> {
    let code = money.currency.code();
    let currency = first_id(rest, "currency.currency", json!([["code", "=", code]])).await?;
    let currency = currency.ok_or_else(|| Fault::rejected("currency", format!("{code} is not set up in Tryton")))?;
    let mut document = Map::new();
    document.insert("company".to_owned(), rest.settings.company.into());
    document.insert("reference".to_owned(), request.key.as_str().into());
    document.insert("party".to_owned(), party.into());
    document.insert("invoice_address".to_owned(), address(rest, party).await?.into());
    document.insert("currency".to_owned(), currency.into());
    Ok(document)
}

async fn order_draft(
    rest: &Rest<'_>,
    (request, order, party): (&WriteRequest, &PlaceOrder, i64),
    items: &Items,
) -> Result<Value, Fault> {
    let terms = terms(rest, party).await?;
    let unit = unit(rest).await?;
    let none = Item::default();
    let lines = order.lines.iter().map(|line| {
        let item = items.get(&line.item_code).unwrap_or(&none);
        let mut written = line_of(item, unit, &line.description, line.amount);
        // The invoice of the milestone finds the line that it bills by this.
        written.insert("note".to_owned(), line.milestone.to_string().into());
        Value::Object(written)
    });
    let lines: Vec<Value> = lines.collect();
    let mut draft = document(rest, request, party, order.total).await?;
    draft.insert("shipment_address".to_owned(), draft["invoice_address"].clone());
    draft.insert("description".to_owned(), order.title.as_str().into());
    if let Some(po_number) = &order.po_number {
        draft.insert("comment".to_owned(), format!("Purchase order {po_number}").into());
    }
    draft.insert("payment_term".to_owned(), json!(terms.customer_payment_term.or(rest.settings.payment_term)));
    // The hub says when to invoice, and services are not shipped.
    draft.insert("invoice_method".to_owned(), "manual".into());
    draft.insert("shipment_method".to_owned(), "manual".into());
    draft.insert("lines".to_owned(), json!([["create", lines]]));
    Ok(Value::Object(draft))
}

async fn invoice_draft(
    rest: &Rest<'_>,
    (request, invoice, party): (&WriteRequest, &IssueInvoice, i64),
    items: &Items,
) -> Result<Value, Fault> {
    let terms = terms(rest, party).await?;
    let item = items.get(&invoice.item_code).cloned().unwrap_or_default();
    let accounts = accounts(rest, terms, item.account).await?;
    let mut line = line_of(&item, unit(rest).await?, &invoice.description, invoice.amount);
    line.insert("account".to_owned(), accounts.revenue.into());
    if let Some(sold) = sold_line(rest, request, invoice).await? {
        line.insert("origin".to_owned(), format!("sale.line,{sold}").into());
    }
    let mut draft = document(rest, request, party, invoice.amount).await?;
    line.insert("currency".to_owned(), draft["currency"].clone());
    draft.insert("type".to_owned(), "out".into());
    draft.insert("description".to_owned(), invoice.title.as_str().into());
    draft.insert("comment".to_owned(), invoice.invoice.to_string().into());
    draft.insert("payment_term".to_owned(), json!(terms.customer_payment_term.or(rest.settings.payment_term)));
    draft.insert("account".to_owned(), accounts.receivable.into());
    draft.insert("journal".to_owned(), journal(rest).await?.into());
    draft.insert("lines".to_owned(), json!([["create", [line]]]));
    Ok(Value::Object(draft))
}

/// A line of one piece at a price.
fn line_of(item: &Item, own_unit: Option<i64>, description: &str, price: Money) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("type".to_owned(), "line".into());
    line.insert("description".to_owned(), description.into());
    line.insert("quantity".to_owned(), 1.into());
    line.insert("unit_price".to_owned(), json!(Decimal { decimal: price.decimal() }));
    if let Some(product) = item.product {
        line.insert("product".to_owned(), product.into());
    }
    // A product of its own has a unit of its own.
    if let Some(unit) = item.unit.or(own_unit) {
        line.insert("unit".to_owned(), unit.into());
    }
    if !item.taxes.is_empty() {
        line.insert("taxes".to_owned(), json!([["add", item.taxes]]));
    }
    line
}

/// The line of the order that the invoice bills: with it Tryton knows what is invoiced and will not invoice it again.
/// One that is on an invoice already is left alone.
async fn sold_line(rest: &Rest<'_>, request: &WriteRequest, invoice: &IssueInvoice) -> Result<Option<i64>, Fault> {
    let Some(sale) = request.order_remote_id.as_deref().and_then(|id| number(id).ok()) else { return Ok(None) };
    let note = invoice.milestone.to_string();
    let domain = json!([["sale", "=", sale], ["note", "=", note], ["invoice_lines", "=", null]]);
    first_id(rest, "sale.line", domain).await
}

async fn address(rest: &Rest<'_>, party: i64) -> Result<i64, Fault> {
    let search = Search {
        model: "party.address",
        fields: &["invoice"],
        domain: json!([["party", "=", party]]),
        order: json!([["id", "ASC"]]),
        size: MOST_OF_ONE_KEY,
    };
    let found = rest.search(search).await?.into_iter().map(wire::read).collect::<Result<Vec<Address>, _>>()?;
    let chosen = found.iter().find(|address| address.invoice == Some(true)).or(found.first());
    chosen.map(|address| address.id).ok_or_else(|| Fault::rejected("invoice_address", "the party has no address"))
}

async fn terms(rest: &Rest<'_>, party: i64) -> Result<CustomerTerms, Fault> {
    let found = rest.read(account::MODEL, party, &["customer_payment_term", "account_receivable"]).await;
    let found = found.map_err(|fault| match fault {
        Fault::Gone => Fault::rejected("party", format!("there is no party {party}")),
        other => other,
    })?;
    wire::read(found)
}

async fn unit(rest: &Rest<'_>) -> Result<Option<i64>, Fault> {
    match (rest.settings.unit, rest.settings.product) {
        (None, Some(_)) => Ok(product(rest).await?.and_then(|product| product.default_uom)),
        (unit, _) => Ok(unit),
    }
}

async fn product(rest: &Rest<'_>) -> Result<Option<Product>, Fault> {
    let Some(product) = rest.settings.product else { return Ok(None) };
    let fields = ["default_uom", "template.account_category.account_revenue"];
    match rest.read("product.product", product, &fields).await {
        Err(Fault::Gone) => Err(Fault::rejected("settings.product", format!("there is no product {product}"))),
        found => wire::read(found?).map(Some),
    }
}

struct Accounts {
    receivable: i64,
    revenue: i64,
}

async fn accounts(rest: &Rest<'_>, terms: CustomerTerms, of_item: Option<i64>) -> Result<Accounts, Fault> {
    let receivable = terms.account_receivable.or(rest.settings.receivable_account);
    let revenue = match of_item.or(rest.settings.revenue_account) {
        Some(account) => Some(account),
        None => {
            let category = product(rest).await?.and_then(|product| product.template?.account_category);
            category.and_then(|category| category.account_revenue)
        }
    };
    if let (Some(receivable), Some(revenue)) = (receivable, revenue) {
        return Ok(Accounts { receivable, revenue });
    }
    // There is one configuration, and its id is 1.
    let fields = ["default_account_receivable", "default_category_account_revenue"];
    let defaults: DefaultAccounts = wire::read(rest.read("account.configuration", 1, &fields).await?)?;
    let missing = |key: &str| Fault::rejected(key, "neither set nor configured in Tryton");
    Ok(Accounts {
        receivable: receivable
            .or(defaults.default_account_receivable)
            .ok_or_else(|| missing("settings.receivable_account"))?,
        revenue: revenue
            .or(defaults.default_category_account_revenue)
            .ok_or_else(|| missing("settings.revenue_account"))?,
    })
}

async fn journal(rest: &Rest<'_>) -> Result<i64, Fault> {
    if let Some(journal) = rest.settings.journal {
        return Ok(journal);
    }
    let found = first_id(rest, "account.journal", json!([["type", "=", "revenue"]])).await?;
    found.ok_or_else(|| Fault::rejected("settings.journal", "Tryton has no revenue journal"))
}

async fn first_id(rest: &Rest<'_>, model: &str, domain: Value) -> Result<Option<i64>, Fault> {
    let search = Search { model, fields: &["id"], domain, order: json!([["id", "ASC"]]), size: 1 };
    let found = rest.search(search).await?.into_iter().next();
    found.map(|raw| wire::read::<Id>(raw).map(|found| found.id)).transpose()
}
