"""Where orders come in."""

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from stomplistener.contrib.django import publish_on_commit
from store.orders import place


@csrf_exempt
@require_POST
def order(request: HttpRequest) -> JsonResponse:
    """Place an order: the message is written with it, or neither is."""
    with transaction.atomic():
        placed = place(request.POST["article"])
        # Nobody is hurt when this one is lost: a screen in the hall shows what was just ordered.
        publish_on_commit("/topic/screen", placed.article, robust=True)
    return JsonResponse({"order": placed.pk}, status=201)
