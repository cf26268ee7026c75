"""The view that takes orders."""

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from stomplistener.contrib.django import publish_on_commit
from store.orders import place


@csrf_exempt
@require_POST
def order(request: HttpRequest) -> JsonResponse:
    """Place an order, and write its message in the same transaction."""
    with transaction.atomic():
        placed = place(request.POST["article"])
        # The next message may be lost: it only shows the newest order on a screen.
        publish_on_commit("/topic/screen", placed.article, robust=True)
    return JsonResponse({"order": placed.pk}, status=201)
