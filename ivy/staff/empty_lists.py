"""What a list of the admin is for, and what to do when nothing is in it: said where there is nothing to see."""

WHEN_EMPTY = {
    # Customers
    "billing.partner": "Every customer belongs to a partner, your own direct customers too. Add one, or import a file.",
    "billing.customer": "Add a customer, or import many from a CSV file (Import CSV, in the menu).",
    "billing.callidentity": "What switches write for a customer: a code, a peer, a number. Without one, calls go to"
    " quarantine. They are set on the customer's form.",
    "billing.balancealert": "Thresholds below which a customer is mailed. They are added on the customer's page, which"
    " shows first who would be mailed.",
    "billing.customerbalance": "Each customer has a balance from its first day. Add customers first.",
    "billing.episode": "A fall of a balance below a threshold. It begins by itself when a balance is below one, and"
    " ends when it has recovered.",
    # Mails
    "notifications.notificationlog": "Every mail that a customer is owed, in whatever state. One comes to be when a"
    " balance falls below a threshold.",
    "notifications.stafforder": "What staff ordered of mails: approved, sent again, apologised for. Orders are given"
    " in Review.",
    "notifications.breakertrip": "The breaker stops mails when there are oddly many. It has never tripped.",
    "notifications.breakerlimits": "How many mails are too many. Until somebody sets limits of their own, the usual"
    " ones hold.",
    # Calls
    "billing.source": "A switch that delivers call records. Add one, or register it with its"
    " first file: import_calls FILE --source NAME --new-source.",
    "billing.delivery": "A file of call records that came in. Deliver one with import_calls, or let it watch a folder.",
    "billing.arrivalbatch": "The call records of one delivery, until every one of them has its outcome.",
    "billing.callrecord": "Calls, as the switches report them. They come with a delivery: import_calls.",
    "billing.quarantinedcall": "Calls that can't be charged until a cause is mended. None is in quarantine: that is how"
    " it should be.",
    "billing.freecall": "Calls that cost nothing by a rule or a price, each with its reason.",
    "billing.unparsableline": "Lines of files that could not even be read as calls, kept as they came. There are none:"
    " that is how it should be.",
    # Prices
    "billing.ratedeck": "A price list. Import one from a CSV file (Import a price list, in the menu), or add one.",
    "billing.rate": "The price of calls to one prefix. Import a price list, or add one by itself.",
    # Items
    "billing.billingitem": "What is charged besides calls: once, or again and again. Add one, or import a CSV file.",
    "billing.itemperiod": "Each period of an item that was charged. They come with billing runs.",
    # Ledger
    "billing.ledgerentry": "Every movement of a balance. Entries come with billing runs, payments and corrections.",
    "billing.rerating": "Calls that were charged again after a price was put right: rerate --from --to.",
    "ivy.creditrequest": "Credits above a limit, which wait for a second person. They are asked for on a"
    " customer's page.",
    "ivy.creditlimit": "Up to how much one person may give a customer in a day: 100 units of a currency that has no"
    " line here.",
    # Runs
    "billing.billingrun": "One begins every minute. Is there none, see that qcluster and tick run (Health of the parts,"
    " on the first page).",
    "billing.billingworker": "Processes that work on a run. Each run has at least one.",
    "billing.billingchunk": "The pieces of work of billing runs. A run with nothing to do has none.",
    # Halting and trouble
    "billing.processswitch": "A process that was never halted has no switch: all of them work. Halting is done on the"
    " first page.",
    "billing.switchhistory": "Who halted and resumed what, and why. Nothing was ever halted.",
    "ivy.incident": "What partners are told while something is wrong. Open one when they should know.",
    # People
    "accounts.user": "People who log in here. Add one, and give them a role (a group).",
    "auth.group": "Roles. They are made by every migration: migrate puts them right.",
    "portal.portaluser": "People of partners. A partner's first owner is invited on the partner's page.",
    "portal.invitation": "Invitations to the portal that were sent. They are sent on a partner's page.",
    "portal.apitoken": "Keys by which partners' programs read the API. Partners make them in their portal.",
    "portal.stafflook": "Who of staff looked at a partner's portal, and why. One looks from a partner's page.",
    "mfa.authenticator": "Second factors. Each person sets up their own: Second factor, in the menu of their account.",
    "axes.accessattempt": "Failed log-ins. Those that locked somebody out are lifted by deleting them here.",
    "axes.accesslog": "Who logged in, from where and when.",
    "ivy.auditentry": "What people did on these pages, with the reason, before and after.",
    "ivy.customernote": "Notes about customers. They are taken on the customer's page.",
    # Machinery
    "ivy.alarm": "What staff were alarmed about. There was nothing yet.",
    "ivy.probe": "What each process finds of cache, database, mail server, clock and disk. Processes write here within"
    " a minute of their start: is there nothing, none runs.",
    "ivy.cachefailure": "Each time that Redis could not be used. There was none: that is how it should be.",
    "ivy.pulse": "Signs of life. Is there none, neither qcluster nor tick has run yet.",
    "ivy.repair": "What Ivy put right by itself, as a schedule that was lost. There was nothing to repair.",
    "django_q.schedule": "What the queue is told to do, and how often: manage.py install_schedules puts it there.",
    "django_q.ormq": "Tasks that wait for a worker. None waits.",
    "django_q.success": "Tasks that were done. Is there none after some minutes, see that qcluster runs.",
    "django_q.failure": "Tasks that failed. None did: that is how it should be.",
}
"""By `app.model`; every list of the admin has its sentence."""
