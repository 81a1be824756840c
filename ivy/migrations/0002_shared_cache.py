"""The table of the "default" cache, so that nobody has to run `createcachetable`.

Unlogged: what it holds may be lost in a crash, and need not be written to the log twice a second.
"""

from django.db import migrations

CREATE = """
CREATE UNLOGGED TABLE ivy_shared_cache (
    cache_key varchar(255) NOT NULL PRIMARY KEY,
    value text NOT NULL,
    expires timestamp with time zone NOT NULL
);
CREATE INDEX ivy_shared_cache_expires ON ivy_shared_cache (expires);
"""


class Migration(migrations.Migration):
    dependencies = [("ivy", "0001_pulses")]

    operations = [migrations.RunSQL(CREATE, reverse_sql="DROP TABLE ivy_shared_cache")]
