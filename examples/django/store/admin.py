"""Orders and invoices in the admin, beside the outbox that the library brings."""

from django.contrib import admin

from store.models import Invoice, Order

admin.site.register([Order, Invoice])
