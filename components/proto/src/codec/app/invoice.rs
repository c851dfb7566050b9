//! The seller's requests and their answers.

use super::default_currency;
use crate::{
    Timestamp,
    app::{
        CreateInvoice, Hold, InvoiceCursor, InvoicePage, InvoiceReport, InvoiceStatus,
        MAX_INVOICE_PAGE,
    },
    codec::{
        Decoded, count, credits, fixed, list, mirror, parse,
        payment::{invoice, set_invoice},
        set_credits, set_list,
    },
    schema::app_capnp::{
        self, app_request, create_invoice, invoice_cursor, invoice_page as page_schema,
        invoice_report as report_schema,
    },
};

mirror!(
    InvoiceStatus, app_capnp::InvoiceStatus, schema_status, invoice_status,
    Open Requested Complete Committed Collected Cancelled Expired
);

/// At least what an invoice and its state take.
pub(super) const INVOICE_REPORT_WORDS: usize = 80;

pub(super) fn set_create(value: &CreateInvoice, mut create: create_invoice::Builder<'_>) {
    create.set_nonce(value.nonce.as_bytes());
    if let Some(currency) = &value.currency {
        create.set_currency(currency.as_str());
    }
    set_credits(value.amount, create.reborrow().init_amount());
    create.set_description(value.description.as_str());
    let mut expiry = create.reborrow().init_expiry();
    match value.expires_in_ms {
        None => expiry.set_standard(()),
        Some(ms) => expiry.set_after_ms(ms),
    }
    let mut hold = create.init_hold();
    match value.hold {
        Hold::None => hold.set_none(()),
        Hold::Standard => hold.set_standard(()),
        Hold::ForMs(ms) => hold.set_for_ms(ms),
    }
}

pub(super) fn create_of(create: create_invoice::Reader<'_>) -> Decoded<CreateInvoice> {
    use create_invoice::{expiry, hold};
    Ok(CreateInvoice {
        nonce: fixed("nonce", create.get_nonce())?,
        currency: default_currency(create.has_currency(), create.get_currency())?,
        amount: credits(create.get_amount()?),
        description: parse("description", create.get_description())?,
        expires_in_ms: match create.get_expiry().which()? {
            expiry::Which::Standard(()) => None,
            expiry::Which::AfterMs(ms) => Some(ms),
        },
        hold: match create.get_hold().which()? {
            hold::Which::None(()) => Hold::None,
            hold::Which::Standard(()) => Hold::Standard,
            hold::Which::ForMs(ms) => Hold::ForMs(ms),
        },
    })
}

pub(super) fn set_invoices(
    only: Option<InvoiceStatus>,
    place: Option<InvoiceCursor>,
    mut group: app_request::invoices::Builder<'_>,
) {
    let mut status = group.reborrow().init_status();
    match only {
        None => status.set_any(()),
        Some(only) => status.set_only(schema_status(only)),
    }
    let mut after = group.init_after();
    match place {
        None => after.set_begin(()),
        Some(place) => set_cursor(place, after.init_cursor()),
    }
}

pub(super) fn invoices(
    group: app_request::invoices::Reader<'_>,
) -> Decoded<(Option<InvoiceStatus>, Option<InvoiceCursor>)> {
    use app_request::invoices::{after, status};
    let only = match group.get_status().which()? {
        status::Which::Any(()) => None,
        status::Which::Only(only) => Some(invoice_status(only)?),
    };
    let place = match group.get_after().which()? {
        after::Which::Begin(()) => None,
        after::Which::Cursor(place) => Some(cursor(place?)?),
    };
    Ok((only, place))
}

fn set_cursor(value: InvoiceCursor, mut cursor: invoice_cursor::Builder<'_>) {
    cursor.set_created_at(value.created_at.0);
    cursor.set_invoice_id(value.invoice_id.as_bytes());
}

fn cursor(cursor: invoice_cursor::Reader<'_>) -> Decoded<InvoiceCursor> {
    Ok(InvoiceCursor {
        created_at: Timestamp(cursor.get_created_at()),
        invoice_id: fixed("invoiceId", cursor.get_invoice_id())?,
    })
}

pub(super) fn set_invoice_report(value: &InvoiceReport, mut report: report_schema::Builder<'_>) {
    set_invoice(&value.invoice, report.reborrow().init_invoice());
    report.set_status(schema_status(value.status));
    report.set_held(value.held);
}

pub(super) fn invoice_report(report: report_schema::Reader<'_>) -> Decoded<InvoiceReport> {
    Ok(InvoiceReport {
        invoice: invoice(report.get_invoice()?)?,
        status: invoice_status(report.get_status())?,
        held: report.get_held(),
    })
}

pub(super) fn set_invoice_page(value: &InvoicePage, mut page: page_schema::Builder<'_>) {
    let invoices = page.reborrow().init_invoices(count(value.invoices.len()));
    set_list(invoices, &value.invoices, set_invoice_report);
    let mut next = page.init_next();
    match value.next {
        None => next.set_end(()),
        Some(place) => set_cursor(place, next.init_cursor()),
    }
}

pub(super) fn invoice_page(page: page_schema::Reader<'_>) -> Decoded<InvoicePage> {
    use page_schema::next::Which;
    let next = match page.get_next().which()? {
        Which::End(()) => None,
        Which::Cursor(place) => Some(cursor(place?)?),
    };
    let invoices = list("invoices", page.get_invoices()?, MAX_INVOICE_PAGE, invoice_report)?;
    Ok(InvoicePage { invoices, next })
}
