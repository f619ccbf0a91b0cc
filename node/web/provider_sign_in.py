"""The way to an identity provider and back."""

import hmac
import logging

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from node.errors import IchnodeError
from node.log import event
from node.web import guard
from node.web.oidc import LASTS, Begun, NotVouched, Provider
from node.web.signing import form, local, opened
from node.web.site import Site
from node.web.who import address_of
from node.worklist import Account, Actor, BadName, Deed

logger = logging.getLogger(__name__)

COOKIE = "ichnode_oidc"
UNREACHABLE = "The identity provider cannot be asked now; see the node's log."
FOREIGN = "This sign-in was begun in another browser. Try again."


class ProviderSignIn:
    """Signing in at the provider; each method answers one request."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._provider = Provider(site.settings.web.oidc)

    def routes(self) -> list[Route]:
        """Return where each answer is found."""
        return [Route("/oidc/login", self.leave), Route("/oidc/back", self.come_back)]

    def leave(self, request: Request) -> Response:
        """Send the browser to the provider."""
        if not self._site.settings.web.oidc.issuer:
            return RedirectResponse("/login", 303)
        then = local(request.query_params.get("next"))
        try:
            url, state = self._provider.begin(_back(request), then, self._site.clock())
        except IchnodeError as error:
            return self._failed(request, then, error)
        answer = RedirectResponse(url, 303)
        secure = guard.is_secure(request)
        answer.set_cookie(  # lax: the provider sends the browser here, which is another site
            COOKIE,
            state,
            max_age=int(LASTS.total_seconds()),
            path="/oidc",
            httponly=True,
            samesite="lax",
            secure=secure,
        )
        return answer

    def come_back(self, request: Request) -> Response:
        """Sign in whom the provider vouches for.

        The answer is a page that goes on by itself: a redirect would still count as another
        site's, and the browser would not send the session's cookie with it.
        """
        if not self._site.settings.web.oidc.issuer:
            return RedirectResponse("/login", 303)
        try:
            begun = self._begun(request)
        except NotVouched as error:
            return self._failed(request, "/", error)
        try:
            secret = opened(self._site, request, self._account(request, begun))
        except IchnodeError as error:
            actor = Actor("unknown", address_of(request))
            self._site.worklist.audit.record(actor, Deed.SIGN_IN_FAILED, self._site.clock())
            return self._failed(request, begun.then, error)
        answer = HTMLResponse(self._site.render("signed_in.html", then=begun.then))
        answer.delete_cookie(COOKIE, path="/oidc")
        return guard.with_session(answer, request, secret)

    def _begun(self, request: Request) -> Begun:
        """Return the sign-in that this browser has begun; the audit trail notes no other."""
        state, held = request.query_params.get("state", ""), request.cookies.get(COOKIE, "")
        if not held or not hmac.compare_digest(held.encode(), state.encode(errors="replace")):
            raise NotVouched(FOREIGN)
        return self._provider.take(state, self._site.clock())

    def _account(self, request: Request, begun: Begun) -> Account:
        code = request.query_params.get("code", "")
        found = self._provider.finish(_back(request), code, begun)
        by = Actor("identity provider", address_of(request))
        account = self._site.worklist.accounts.vouched(
            found.issuer, found.subject, found.name, found.role, by, self._site.clock()
        )
        if account.disabled_at is not None:
            raise NotVouched("Your account is disabled.")
        return account

    def _failed(self, request: Request, then: str, error: IchnodeError) -> Response:
        if isinstance(error, NotVouched | BadName):
            return form(self._site, request, then, str(error), 401)
        logger.error("no sign-in: %s", error, extra=event("sign_in_failed"))
        return form(self._site, request, then, UNREACHABLE, 503)


def _back(request: Request) -> str:
    scheme = "https" if guard.is_secure(request) else "http"
    return f"{scheme}://{request.headers['host']}/oidc/back"
