"""Addresses of the work lists, price lists, items, and of files that come in and go out."""

from ivy.staff.pages import staff_path
from ivy.staff.work import exports, imports, items, prices, quarantine

urlpatterns = [
    staff_path("work/quarantine/", quarantine.WorkListPage, "work_quarantine"),
    staff_path("work/quarantine/calls/", quarantine.CallsPage, "work_calls"),
    staff_path("work/quarantine/calls/<int:row>/", quarantine.CallPage, "work_call"),
    staff_path("work/quarantine/release/", quarantine.ReleasePage, "work_release"),
    staff_path("work/quarantine/dismiss/", quarantine.DismissPage, "work_dismiss"),
    staff_path("work/quarantine/add-rate/", quarantine.AddRatePage, "work_add_rate"),
    staff_path("work/quarantine/add-identity/", quarantine.AddIdentityPage, "work_add_identity"),
    staff_path("work/price/", prices.QuotePage, "work_price"),
    staff_path("work/decks/import/", imports.DeckImportPage, "work_deck_import"),
    staff_path("work/deck/<str:name>/", prices.DeckPage, "work_deck"),
    staff_path("work/items/", items.ItemsPage, "work_items"),
    staff_path("work/items/add/", items.AddItemPage, "work_item_add"),
    staff_path("work/item/<str:reference>/", items.ItemPage, "work_item"),
    staff_path("work/item/<str:reference>/edit/", items.EditItemPage, "work_item_edit"),
    staff_path("work/item/<str:reference>/amount/", items.ChangeAmountPage, "work_item_amount"),
    staff_path("work/item/<str:reference>/pause/", items.PausePage, "work_item_pause"),
    staff_path("work/item/<str:reference>/resume/", items.ResumePage, "work_item_resume"),
    staff_path("work/item/<str:reference>/end/", items.EndPage, "work_item_end"),
    staff_path("work/import/", imports.ImportPage, "work_import"),
    staff_path("work/import/<uuid:upload>/", imports.ConfirmPage, "work_import_confirm"),
    staff_path("work/export/<str:app>/<str:model>/", exports.ExportPage, "work_export"),
]
