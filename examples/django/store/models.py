"""Orders that customers place, and invoices that the worker writes for them."""

from django.db import models


class Order(models.Model):
    """An order of a customer."""

    article = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.article


class Invoice(models.Model):
    """An invoice: at most one for each order, however often the order's message arrives."""

    order = models.OneToOneField(Order, on_delete=models.CASCADE)
    pid = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"invoice for {self.order}"
