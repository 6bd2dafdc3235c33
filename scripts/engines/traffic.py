"""Requests whose prompts begin alike: conversations that grow, over a few system prompts; the same for the same seed."""

import dataclasses
import random

WORDS = (
    "chain saddle pedal brake wheel spoke frame fork gear cable lamp bell rack pump tube valve rim hub tyre lever "
    "clean adjust replace tighten loosen check measure order return repair ride carry store paint polish grease"
).split()


@dataclasses.dataclass
class Conversation:
    """One of them: its number, what was said so far, and how often somebody will still ask."""

    number: int
    messages: list
    left: int


class Traffic:
    """Hands out conversations to continue; whoever takes one gives it back with its answer."""

    def __init__(self, seed, requests, open_at_once=40, systems=4):
        self.dice = random.Random(seed)
        self.left, self.begun_so_far = requests, 0
        self.systems = [self.words(120) for _ in range(systems)]
        self.open = [self.begun() for _ in range(open_at_once)]

    def words(self, count):
        return " ".join(self.dice.choice(WORDS) for _ in range(count))

    def begun(self):
        system = {"role": "system", "content": "You are the help desk of a bicycle shop: " + self.dice.choice(self.systems)}
        self.begun_so_far += 1
        return Conversation(self.begun_so_far, [system], self.dice.randint(1, 6))

    def next(self):
        """A conversation with its next question, or None if there were enough."""
        if self.left == 0:
            return None
        self.left -= 1
        conversation = self.open.pop(self.dice.randrange(len(self.open)))
        question = {"role": "user", "content": "How do I " + self.words(self.dice.randint(8, 40)) + "?"}
        conversation.messages.append(question)
        return conversation

    def answered(self, conversation, text):
        conversation.messages.append({"role": "assistant", "content": text})
        conversation.left -= 1
        self.open.append(conversation if conversation.left else self.begun())
