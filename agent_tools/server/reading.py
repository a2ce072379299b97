"""Resources, prompts and completion in the SDK's types; what they hold is in `agent_tools.workflows`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache, partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.shared.exceptions import MCPError
from mcp.shared.uri_template import UriTemplate
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    Completion,
    CompletionArgument,
    GetPromptResult,
    Prompt,
    PromptArgument,
    PromptMessage,
    PromptReference,
    Resource,
    ResourceTemplate,
    ResourceTemplateReference,
    TextContent,
)

from agent_tools.server.errors import in_one_sentence
from agent_tools.workflows import prompts, resources
from agent_tools.workspace.root import Root


def listed_resources(root: Root) -> list[Resource]:
    """The newest resources of every kind."""
    with in_one_sentence("resources/list", partial(MCPError, INTERNAL_ERROR)):
        return [
            Resource(uri=one.address, name=one.name, title=one.title, mime_type=one.mime_type)
            for one in resources.listing(root)
        ]


def resource_templates() -> list[ResourceTemplate]:
    """How every kind of resource is addressed."""
    return [
        ResourceTemplate(uri_template=kind.template, name=kind.name, title=kind.title, description=kind.description)
        for kind in resources.KINDS
    ]


def read_resource(root: Root, uri: str) -> ReadResourceContents:
    """Read a resource.

    Raises:
        ResourceNotFoundError: there is no such resource, or its range is unusable.
        ResourceError: it cannot be read for another reason.
    """
    with in_one_sentence("resources/read", ResourceNotFoundError, ResourceError):
        kind, given = _matched(uri)
        name = given.pop(kind.variable)
        content = resources.read(root, kind, name, **given)
        return ReadResourceContents(content=content.data, mime_type=content.mime_type)


def _matched(uri: str) -> tuple[resources.Kind, dict[str, str]]:
    for template, kind in _templates().items():
        given = template.match(uri)
        if given is not None:
            _refuse_unknown(uri)
            return kind, {name: str(value) for name, value in given.items()}
    kinds = ", ".join(kind.template for kind in resources.KINDS)
    raise resources.ResourceError(f"{uri[:200]!r} is no address of this server; they are {kinds}.")


def _refuse_unknown(uri: str) -> None:
    """The SDK's templates pass over what they do not know; the caller would take the beginning for what was asked."""
    for name, _ in parse_qsl(urlsplit(uri).query, keep_blank_values=True):
        if name not in resources.RANGE:
            raise resources.ResourceError(
                f"{name[:80]!r} is no part of a range; there are {', '.join(resources.RANGE)}."
            )


@cache
def _templates() -> Mapping[UriTemplate, resources.Kind]:
    return {UriTemplate.parse(kind.template): kind for kind in resources.KINDS}


def listed_prompts() -> list[Prompt]:
    """The prompts with their arguments."""
    return [
        Prompt(
            name=prompt.name,
            title=prompt.title,
            description=prompt.description,
            arguments=[
                PromptArgument(name=one.name, description=one.description, required=one.required)
                for one in prompt.arguments
            ],
        )
        for prompt in prompts.PROMPTS
    ]


def rendered_prompt(root: Root, name: str, arguments: Mapping[str, Any], served: Collection[str]) -> GetPromptResult:
    """Render a prompt.

    Raises:
        MCPError: with a sentence.
    """
    with in_one_sentence("prompts/get", partial(MCPError, INVALID_PARAMS), partial(MCPError, INTERNAL_ERROR)):
        text = prompts.render(root, name, {key: str(value) for key, value in arguments.items()}, served)
        message = PromptMessage(role="user", content=TextContent(type="text", text=text))
        return GetPromptResult(description=prompts.find(name).description, messages=[message])


def completed(root: Root, ref: PromptReference | ResourceTemplateReference, argument: CompletionArgument) -> Completion:
    """Values that a variable of an address, or an argument of a prompt, may have.

    Raises:
        MCPError: with a sentence.
    """
    with in_one_sentence("completion/complete", partial(MCPError, INVALID_PARAMS)):
        if isinstance(ref, PromptReference):
            known = prompts.names_for(root, ref.name, argument.name)
        else:
            kind = next((kind for kind in resources.KINDS if kind.template == ref.uri), None)
            known = kind.names(root) if kind is not None and argument.name == kind.variable else iter(())
        values, total = resources.completions(known, argument.value)
        return Completion(values=values, total=total, has_more=total > len(values))
