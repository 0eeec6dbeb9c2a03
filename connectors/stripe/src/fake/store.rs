//! The records of the stand-in, and what each request does to them.

use crosstie_sdk::{HttpResponse, Method};
use serde_json::{Value, json};

use super::{
    event,
    request::{Asked, found, invalid, missing, refuse},
};

/// Records in the order in which they were made.
pub(super) struct Store {
    id_seed: u64,
    ids: u64,
    pub(super) customers: Vec<Value>,
    pub(super) products: Vec<Value>,
    pub(super) invoices: Vec<Value>,
    pub(super) tax_rates: Vec<Value>,
    events: Vec<Value>,
    announced: usize,
}

impl Store {
    pub(super) fn new(id_seed: u64) -> Self {
        Self {
            id_seed,
            ids: 0,
            customers: Vec::new(),
            products: Vec::new(),
            invoices: Vec::new(),
            tax_rates: Vec::new(),
            events: Vec::new(),
            announced: 0,
        }
    }

    /// Events since this was last asked.
    pub(super) fn take_new_events(&mut self) -> Vec<Value> {
        let new = self.events[self.announced..].to_vec();
        self.announced = self.events.len();
        new
    }

    pub(super) fn answer(&mut self, asked: &Asked) -> HttpResponse {
        let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
        match (asked.method, path.as_slice()) {
            (Method::Get, ["v1", "customers"]) => asked.page(live(&self.customers)),
            (Method::Get, ["v1", "customers", "search"]) => self.search_customers(asked),
            (Method::Get, ["v1", "customers", id]) => show(&self.customers, "customer", id),
            (Method::Post, ["v1", "customers"]) => self.create_customer(asked),
            (Method::Post, ["v1", "customers", id]) => self.update_customer(asked, id),
            (Method::Delete, ["v1", "customers", id]) => self.delete_customer(asked, id),
            (Method::Get, ["v1", "products", id]) => show(&self.products, "product", id),
            (Method::Post, ["v1", "products"]) => self.create_product(asked),
            (Method::Post, ["v1", "products", id]) => self.update_product(asked, id),
            (Method::Get, ["v1", "tax_rates", id]) => show(&self.tax_rates, "tax rate", id),
            (Method::Post, ["v1", "tax_rates"]) => self.create_tax_rate(asked),
            (Method::Post, ["v1", "tax_rates", id]) => self.update_tax_rate(asked, id),
            (Method::Get, ["v1", "invoices"]) => {
                let of_customer =
                    |invoice: &&Value| asked.text("customer").is_none_or(|customer| invoice["customer"] == customer);
                asked.page(live(&self.invoices).filter(of_customer))
            }
            (Method::Get, ["v1", "invoices", id]) => show(&self.invoices, "invoice", id),
            (Method::Post, ["v1", "invoices"]) => self.draft_invoice(asked),
            (Method::Delete, ["v1", "invoices", id]) => self.delete_invoice(asked, id),
            (Method::Post, ["v1", "invoices", id, "finalize"]) => self.finalize(asked, id),
            (Method::Post, ["v1", "invoices", id, "pay"]) => self.pay(asked, id),
            (Method::Post, ["v1", "invoices", id, "void"]) => self.void(asked, id),
            (Method::Post, ["v1", "invoiceitems"]) => self.add_item(asked),
            (Method::Delete, ["v1", "invoiceitems", id]) => self.delete_item(id),
            (Method::Get, ["v1", "events"]) => self.list_events(asked),
            (method, _) => {
                let why = format!("Unrecognized request URL ({}: /{}).", method.as_str(), asked.path.join("/"));
                refuse(404, "invalid_request_error", None, None, &why)
            }
        }
    }

    pub(super) fn new_id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}_{:x}x{:06}", self.id_seed, self.ids)
    }

    fn emit(&mut self, kind: &str, object: &Value, now: i64) {
        let id = self.new_id("evt");
        self.events.push(event(id, kind, object, now));
    }

    fn create_customer(&mut self, asked: &Asked) -> HttpResponse {
        let customer = json!({
            "id": self.new_id("cus"),
            "object": "customer",
            "created": asked.now,
            "livemode": false,
            "name": asked.text("name"),
            "email": asked.text("email"),
            "metadata": asked.metadata(),
        });
        self.customers.push(customer.clone());
        self.emit("customer.created", &customer, asked.now);
        found(&customer)
    }

    fn update_customer(&mut self, asked: &Asked, id: &str) -> HttpResponse {
        let Some(customer) = find(&mut self.customers, id).filter(|customer| customer["deleted"] != true) else {
            return missing("customer", id);
        };
        if let Some(email) = asked.text("email").filter(|email| !email.is_empty() && !email.contains('@')) {
            let why = format!("Invalid email address: {email}");
            return refuse(400, "invalid_request_error", Some("email_invalid"), Some("email"), &why);
        }
        for name in ["name", "email"] {
            if let Some(text) = asked.text(name) {
                // An empty text unsets it.
                customer[name] = json!(Some(text).filter(|text| !text.is_empty()));
            }
        }
        for (name, value) in asked.metadata() {
            customer["metadata"][name] = value;
        }
        let customer = customer.clone();
        self.emit("customer.updated", &customer, asked.now);
        found(&customer)
    }

    fn delete_customer(&mut self, asked: &Asked, id: &str) -> HttpResponse {
        let Some(customer) = find(&mut self.customers, id) else { return missing("customer", id) };
        let before = std::mem::replace(customer, json!({ "id": id, "object": "customer", "deleted": true }));
        let after = customer.clone();
        self.emit("customer.deleted", &before, asked.now);
        found(&after)
    }

    /// Drafts alone can be deleted, and nothing is left of them.
    fn delete_invoice(&mut self, asked: &Asked, id: &str) -> HttpResponse {
        let Some(place) = self.invoices.iter().position(|invoice| invoice["id"] == id) else {
            return missing("invoice", id);
        };
        if self.invoices[place]["status"] != "draft" {
            return invalid("invoice", "What is not a draft any more cannot be deleted.");
        }
        let before = self.invoices.remove(place);
        self.emit("invoice.deleted", &before, asked.now);
        found(&json!({ "id": id, "object": "invoice", "deleted": true }))
    }

    /// Understands the one question `metadata['name']:'value'`.
    fn search_customers(&self, asked: &Asked) -> HttpResponse {
        let question = asked.text("query").and_then(|query| {
            let (name, value) = query.strip_prefix("metadata['")?.split_once("']:'")?;
            Some((name, value.strip_suffix('\'')?))
        });
        let Some((name, value)) = question else { return invalid("query", "The query cannot be understood.") };
        let data: Vec<&Value> = live(&self.customers).filter(|found| found["metadata"][name] == value).collect();
        found(&json!({ "object": "search_result", "url": "/v1/customers/search", "has_more": false, "data": data }))
    }

    fn create_product(&mut self, asked: &Asked) -> HttpResponse {
        let Some(name) = asked.text("name") else { return invalid("name", "Missing required param: name.") };
        let id = asked.text("id").map(str::to_owned).unwrap_or_else(|| self.new_id("prod"));
        if self.products.iter().any(|product| product["id"] == id.as_str()) {
            let code = Some("resource_already_exists");
            return refuse(400, "invalid_request_error", code, Some("id"), "Product already exists.");
        }
        let product = json!({
            "id": id,
            "object": "product",
            "active": true,
            "created": asked.now,
            "updated": asked.now,
            "images": [],
            "livemode": false,
            "name": name,
            "tax_code": asked.text("tax_code"),
            "metadata": asked.metadata(),
        });
        self.products.push(product.clone());
        found(&product)
    }

    fn draft_invoice(&mut self, asked: &Asked) -> HttpResponse {
        if asked.text("currency").is_some() {
            return invalid("currency", "Received unknown parameter: currency");
        }
        let customer = asked.text("customer").unwrap_or_default().to_owned();
        let Some(known) = live(&self.customers).find(|known| known["id"] == customer.as_str()) else {
            let why = format!("No such customer: '{customer}'");
            return refuse(400, "invalid_request_error", Some("resource_missing"), Some("customer"), &why);
        };
        let by_mail = asked.text("collection_method") == Some("send_invoice");
        if by_mail && asked.number("days_until_due").is_none() {
            return invalid("days_until_due", "You must pass days_until_due or due_date.");
        }
        if by_mail && known["email"].as_str().is_none_or(str::is_empty) {
            let why = "Missing email. In order to create invoices that are sent to the customer, the customer must \
                       have a valid email.";
            return refuse(400, "invalid_request_error", None, None, why);
        }
        if !by_mail && asked.text("days_until_due").is_some() {
            return invalid("days_until_due", "Only invoices with collection_method=send_invoice are due at a time.");
        }
        let automatic_tax = asked.text("automatic_tax[enabled]") == Some("true");
        let due_date = asked.number("days_until_due").map(|days| asked.now + days * 86_400);
        let invoice = json!({
            "id": self.new_id("in"),
            "object": "invoice",
            "created": asked.now,
            "livemode": false,
            "customer": customer,
            "currency": "usd",
            "collection_method": asked.text("collection_method").unwrap_or("charge_automatically"),
            "auto_advance": asked.text("auto_advance") == Some("true"),
            "description": asked.text("description"),
            "number": null,
            "status": "draft",
            "automatic_tax": { "enabled": automatic_tax, "status": null },
            "subtotal": 0,
            "tax": null,
            "total": 0,
            "amount_due": 0,
            "amount_paid": 0,
            "amount_remaining": 0,
            "paid": false,
            "paid_out_of_band": false,
            "due_date": due_date,
            "status_transitions": {
                "finalized_at": null, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null,
            },
            "lines": { "object": "list", "has_more": false, "data": [] },
            "metadata": asked.metadata(),
        });
        self.invoices.push(invoice.clone());
        self.emit("invoice.created", &invoice, asked.now);
        found(&invoice)
    }

    fn finalize(&mut self, asked: &Asked, id: &str) -> HttpResponse {
        let number = self.invoices.iter().filter(|invoice| !invoice["number"].is_null()).count() + 1;
        let number = format!("{:X}-{number:04}", self.id_seed);
        let Some(invoice) = find(&mut self.invoices, id) else { return missing("invoice", id) };
        if invoice["status"] != "draft" {
            let why = "This invoice is already finalized, you can't re-finalize a non-draft invoice.";
            return invalid("invoice", why);
        }
        if invoice["lines"]["data"].as_array().is_none_or(Vec::is_empty) {
            return invalid("invoice", "Nothing to invoice.");
        }
        if let Some(advance) = asked.text("auto_advance") {
            invoice["auto_advance"] = json!(advance == "true");
        }
        if invoice["collection_method"] == "charge_automatically" && invoice["auto_advance"] == true {
            return invalid("auto_advance", "There are no cards here: nothing can be charged.");
        }
        invoice["status"] = json!("open");
        invoice["number"] = json!(number);
        invoice["status_transitions"]["finalized_at"] = json!(asked.now);
        let invoice = invoice.clone();
        self.emit("invoice.finalized", &invoice, asked.now);
        found(&invoice)
    }

    fn pay(&mut self, asked: &Asked, id: &str) -> HttpResponse {
        let Some(invoice) = find(&mut self.invoices, id) else { return missing("invoice", id) };
        if asked.text("paid_out_of_band") != Some("true") {
            return invalid("paid_out_of_band", "There are no cards here: only payment out of band is taken.");
        }
        if invoice["status"] != "open" {
            return invalid("invoice", "Only an open invoice can be paid.");
        }
        invoice["status"] = json!("paid");
        invoice["paid"] = json!(true);
        invoice["paid_out_of_band"] = json!(true);
        invoice["amount_paid"] = invoice["total"].clone();
        invoice["amount_remaining"] = json!(0);
        invoice["status_transitions"]["paid_at"] = json!(asked.now);
        let invoice = invoice.clone();
        self.emit("invoice.paid", &invoice, asked.now);
        found(&invoice)
    }

    fn void(&mut self, asked: &Asked, id: &str) -> HttpResponse {
        let Some(invoice) = find(&mut self.invoices, id) else { return missing("invoice", id) };
        if invoice["status"] != "open" && invoice["status"] != "uncollectible" {
            return invalid("invoice", "Only an open invoice can be voided.");
        }
        invoice["status"] = json!("void");
        invoice["status_transitions"]["voided_at"] = json!(asked.now);
        let invoice = invoice.clone();
        self.emit("invoice.voided", &invoice, asked.now);
        found(&invoice)
    }

    fn list_events(&self, asked: &Asked) -> HttpResponse {
        let (from, to) = (asked.number("created[gte]"), asked.number("created[lte]"));
        let types = asked.all("types[]");
        let wanted = |event: &&Value| {
            let at = event["created"].as_i64().unwrap_or_default();
            from.is_none_or(|from| at >= from)
                && to.is_none_or(|to| at <= to)
                && (types.is_empty() || types.iter().any(|kind| event["type"] == *kind))
        };
        asked.page(self.events.iter().rev().filter(wanted))
    }
}

/// Rows that are listed, the newest first.
fn live(rows: &[Value]) -> impl Iterator<Item = &Value> {
    rows.iter().rev().filter(|row| row["deleted"] != true)
}

fn show(rows: &[Value], what: &str, id: &str) -> HttpResponse {
    rows.iter().find(|row| row["id"] == id).map_or_else(|| missing(what, id), found)
}

pub(super) fn find<'a>(rows: &'a mut [Value], id: &str) -> Option<&'a mut Value> {
    rows.iter_mut().find(|row| row["id"] == id)
}
