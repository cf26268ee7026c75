import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("stomplistener", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="outboxmessage",
            name="connection",
            field=models.CharField(default="default", help_text="By which connection it is sent", max_length=100),
        ),
        migrations.AddField(
            model_name="outboxmessage",
            name="options",
            field=models.JSONField(blank=True, default=dict, help_text="Options of the send, such as its priority"),
        ),
        migrations.AddField(
            model_name="outboxmessage",
            name="refusals",
            field=models.PositiveIntegerField(default=0, help_text="How often the broker refused it"),
        ),
        migrations.AlterField(
            model_name="outboxmessage",
            name="attempts",
            field=models.PositiveIntegerField(default=0, help_text="How often it was sent"),
        ),
        migrations.AlterField(
            model_name="outboxmessage",
            name="due",
            field=models.DateTimeField(
                default=django.utils.timezone.now, help_text="Not sent before; moved by each refusal"
            ),
        ),
        migrations.AddIndex(
            model_name="outboxmessage",
            index=models.Index(
                condition=models.Q(("state", "pending")), fields=["connection", "id"], name="stomp_outbox_pending"
            ),
        ),
    ]
