import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("stomplistener", "0002_outbox_connection_options_refusals")]

    operations = [
        migrations.CreateModel(
            name="InboxMessage",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("handler", models.CharField(max_length=255)),
                ("destination", models.CharField(max_length=255)),
                ("message", models.CharField(help_text="What tells the message from all others", max_length=255)),
                ("handled", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
            options={"verbose_name": "inbox message"},
        ),
        migrations.AddConstraint(
            model_name="inboxmessage",
            constraint=models.UniqueConstraint(fields=("handler", "destination", "message"), name="stomp_inbox_once"),
        ),
    ]
