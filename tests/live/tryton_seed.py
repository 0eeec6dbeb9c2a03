"""Fills a fresh Tryton database with what a services company needs to sell and to invoice.

Used by tryton.sh, before the server starts: tryton_seed.py <database> <trytond.conf>
Writes shell assignments (TRYTON_KEY, TRYTON_SETTINGS, TRYTON_CUSTOMER) to its output.
"""

import datetime
import json
import secrets
import sys
from decimal import Decimal

import proteus


def main(database: str, config_file: str) -> None:
    session = proteus.config.set_trytond(database, config_file=config_file)
    # The helpers of the modules' own tests do the long wizards (company, chart of accounts).
    from trytond.modules.account.tests import tools as accounts
    from trytond.modules.account_invoice.tests import tools as invoices
    from trytond.modules.company.tests import tools as companies

    companies.create_company(currency="USD")
    company = companies.get_company()
    accounts.create_chart(company)
    chart = accounts.get_accounts(company)
    open_books(accounts, invoices, company)

    term = invoices.create_payment_term()
    term.save()
    employee = hire(session, company)
    product, hour = sell_services(chart)
    sell_training(accounts, chart, company, hour)
    customers = [customer(name, term) for name in ("Northwind Mills", "Harbor Freight Lines")]
    key = allow_rest()

    settings = {
        "company": company.id,
        "employee": employee.id,
        "payment_term": term.id,
        "product": product.id,
        "unit": hour.id,
    }
    print(f"TRYTON_KEY={key}")
    print(f"TRYTON_SETTINGS='{json.dumps(settings)}'")
    print(f"TRYTON_CUSTOMER={customers[0].id}")


def model(name: str):
    return proteus.Model.get(name)


def open_books(accounts, invoices, company) -> None:
    """A fiscal year from last January to the end of next year, so that tests may post around today."""
    this_year = datetime.date.today().year
    span = (datetime.date(this_year, 1, 1), datetime.date(this_year + 1, 12, 31))
    year = invoices.set_fiscalyear_invoice_sequences(accounts.create_fiscalyear(company, span))
    year.click("create_period")


def hire(session, company):
    """An employee, and the administrator signs in as that employee."""
    person = model("party.party")(name="Robin Seller")
    person.save()
    employee = model("company.employee")(party=person, company=company)
    employee.save()
    user_model = model("res.user")
    (administrator,) = user_model.find([("login", "=", "admin")])
    administrator.employees.append(employee)
    administrator.employee = employee
    administrator.save()
    session._context = user_model.get_preferences(True, {})
    return employee


def sell_services(chart):
    """A service that is sold by the hour, booked to the accounts of its category."""
    category = model("product.category")(name="Professional services", accounting=True)
    category.account_revenue = chart["revenue"]
    category.account_expense = chart["expense"]
    category.save()
    (hour,) = model("product.uom").find([("name", "=", "Hour")])
    template = model("product.template")(name="Consulting", type="service", salable=True)
    template.list_price = Decimal("180")
    template.default_uom = hour
    template.account_category = category
    template.save()
    return template.products[0], hour


def sell_training(accounts, chart, company, hour) -> None:
    """A second service with a code, a revenue account and a tax of its own, for lines with item codes."""
    tax = accounts.create_tax(Decimal(".19"), company=company)
    tax.name = "Sales tax 19 %"
    tax.save()
    account = model("account.account")(name="Revenue of training", code="TRAIN-REV", company=company)
    account.type = chart["revenue"].type
    account.save()
    closed = model("account.account")(name="Revenue of old", code="OLD-REV", company=company)
    closed.type = chart["revenue"].type
    closed.closed = True
    closed.save()
    # Tryton posts no line whose taxes are not those of its product, and none of a product without a category.
    category = model("product.category")(name="Taxed services", accounting=True)
    category.account_revenue = chart["revenue"]
    category.customer_taxes.append(tax)
    category.save()
    for code, category in (("TRN-1", category), ("TRN-0", None)):
        template = model("product.template")(name="Training", type="service", salable=True)
        template.list_price = Decimal("100")
        template.default_uom = hour
        template.account_category = category
        template.products[0].suffix_code = code
        template.save()


def customer(name: str, term):
    party = model("party.party")(name=name)
    party.customer_payment_term = term
    party.save()
    return party


def allow_rest() -> str:
    """A key for the REST interface, valid at once."""
    (administrator,) = model("res.user").find([("login", "=", "admin")])
    application = model("res.user.application")(user=administrator, application="rest", key=secrets.token_hex(20))
    application.save()
    if application.state != "validated":
        application.click("validate_")
    return application.key


if __name__ == "__main__":
    main(*sys.argv[1:])
