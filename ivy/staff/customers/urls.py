from django.urls import URLPattern

from ivy.staff.customers import approving, changing, money, notes, page, search
from ivy.staff.pages import staff_path

urlpatterns: list[URLPattern] = [
    staff_path("search/", search.Search, "search"),
    staff_path("explain/", money.Explain, "explain"),
    staff_path("customers/<str:account>/", page.CustomerPage, "customer"),
    staff_path("customers/<str:account>/note/", notes.TakeNote, "customer_note"),
    staff_path("customers/<str:account>/status/", changing.ChangeStatus, "customer_status"),
    staff_path("customers/<str:account>/credit-limit/", changing.ChangeCreditLimit, "customer_credit_limit"),
    staff_path("customers/<str:account>/alerts/add/", changing.AddAlert, "customer_alert_add"),
    staff_path("customers/<str:account>/alerts/<int:pk>/", changing.ChangeAlert, "customer_alert"),
    staff_path("customers/<str:account>/alerts/<int:pk>/end/", changing.EndAlert, "customer_alert_end"),
    staff_path("customers/<str:account>/payment/", money.TakePayment, "money_payment"),
    staff_path("customers/<str:account>/refund/", money.GiveRefund, "money_refund"),
    staff_path("customers/<str:account>/credit/", money.GiveCredit, "money_credit"),
    staff_path("customers/<str:account>/adjust/", money.Adjust, "money_adjust"),
    staff_path("money/reverse/", money.Reverse, "money_reverse"),
    staff_path("money/credits/", approving.WaitingCredits, "money_credits"),
    staff_path("money/credits/<int:pk>/approve/", approving.Approve, "money_credit_approve"),
    staff_path("money/credits/<int:pk>/decline/", approving.Decline, "money_credit_decline"),
    staff_path("money/credits/<int:pk>/withdraw/", approving.Withdraw, "money_credit_withdraw"),
]
