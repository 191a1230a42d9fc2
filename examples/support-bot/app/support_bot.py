"""Answers customers. An ordinary program on the Anthropic SDK 2.12: it knows nothing of proxies, quotas or fallbacks."""

import anthropic
from web import serve

client = anthropic.AsyncAnthropic()


async def answer(question):
    message = await client.messages.create(
        model="claude-sonnet-5-5",
        max_tokens=200,
        system="You are the support bot of a shop. Be short and kind.",
        messages=[{"role": "user", "content": question}],
        extra_body={"temperature": 0.9},  # copied from an old project: this model answers 400 to it
    )
    return message.content[0].text


serve(answer)
