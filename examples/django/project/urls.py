"""The admin, and one view for orders."""

from django.contrib import admin
from django.urls import path

from store.views import order

urlpatterns = [path("admin/", admin.site.urls), path("orders/", order)]
