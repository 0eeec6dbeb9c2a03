"""Pays an invoice of a Tryton database in full and in cash, as a person does by its wizard, which REST does not offer.

Used by the live tests with the Python of tryton.sh: tryton_pay.py <database> <trytond.conf> <invoice id>
"""

import sys

import proteus


def main(database: str, config_file: str, invoice_id: str) -> None:
    proteus.config.set_trytond(database, config_file=config_file)
    model = proteus.Model.get
    invoice = model("account.invoice")(int(invoice_id))
    method = payment_method(invoice.company)  # the button is there only when a method is
    pay = invoice.click("pay")
    pay.form.payment_method = method
    pay.execute("choice")
    invoice.reload()
    assert invoice.state == "paid", invoice.state


def payment_method(company):
    """In cash; made when there is none yet."""
    model = proteus.Model.get
    methods = model("account.invoice.payment.method")
    found = methods.find([("company", "=", company.id)], limit=1)
    if found:
        return found[0]
    from trytond.modules.account.tests import tools as accounts

    (journal,) = model("account.journal").find([("type", "=", "cash")], limit=1)
    method = methods(name="Cash", company=company, journal=journal)
    method.credit_account = method.debit_account = accounts.get_accounts(company)["cash"]
    method.save()
    return method


if __name__ == "__main__":
    main(*sys.argv[1:])
