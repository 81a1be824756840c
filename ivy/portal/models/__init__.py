"""The portal's own nouns, one file each; what partners look at belongs to billing and notifications."""

from ivy.portal.models.brand import Brand
from ivy.portal.models.invitation import Invitation
from ivy.portal.models.look import StaffLook
from ivy.portal.models.request import ItemRequest, RequestKind, RequestState
from ivy.portal.models.token import ApiToken, ApiUse, Resource
from ivy.portal.models.user import PortalUser, Role

__all__ = [
    "ApiToken",
    "ApiUse",
    "Brand",
    "Invitation",
    "ItemRequest",
    "PortalUser",
    "RequestKind",
    "RequestState",
    "Resource",
    "Role",
    "StaffLook",
]
