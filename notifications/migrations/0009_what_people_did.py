"""What a person did is found by their name."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('notifications', '0008_no_index_twice'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='stafforder',
            index=models.Index(models.F('by'), models.OrderBy(models.F('id'), descending=True), name='orders_of_a_person'),
        ),
    ]
