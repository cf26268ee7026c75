"""Orders and invoices in the admin. The library adds the outbox."""

from django.contrib import admin

from store.models import Invoice, Order

admin.site.register([Order, Invoice])
