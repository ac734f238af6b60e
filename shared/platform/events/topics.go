package events

import (
	"slices"

	"github.com/isectech/service-networking/shared/platform/security"
)

// The topics there are. Each has a dead-letter topic of the same name with DeadLetter behind it.
const (
	TopicRegistryCommands  = "isectech-registry-commands"
	TopicRegistryChanges   = "isectech-registry-changes"
	TopicHealthTicks       = "isectech-health-ticks"
	TopicHealthShards      = "isectech-health-shards"
	TopicHealthEvents      = "isectech-health-events"
	TopicCertificateTicks  = "isectech-certificate-ticks"
	TopicCertificateEvents = "isectech-certificate-events"
	TopicCanaryTicks       = "isectech-canary-ticks"
	TopicRolloutCommands   = "isectech-rollout-commands"
	TopicRolloutEvents     = "isectech-rollout-events"
	TopicSecurityEvents    = "isectech-security-events"
)

// DeadLetter is what a dead-letter topic has behind its topic's name.
const DeadLetter = "-dead-letter"

var topics = []string{
	TopicRegistryCommands, TopicRegistryChanges, TopicHealthTicks, TopicHealthShards, TopicHealthEvents,
	TopicCertificateTicks, TopicCertificateEvents, TopicCanaryTicks, TopicRolloutCommands, TopicRolloutEvents,
	TopicSecurityEvents,
}

// Topics lists all topics but the dead-letter ones.
func Topics() []string { return slices.Clone(topics) }

// Types of events: commands to the registry, what became of its records, and health.
const (
	TypeRegister   = "com.isectech.registry.register.v1"
	TypeHeartbeat  = "com.isectech.registry.heartbeat.v1"
	TypeUnregister = "com.isectech.registry.unregister.v1"

	TypeServiceCreated = "com.isectech.registry.service.created.v1"
	TypeServiceUpdated = "com.isectech.registry.service.updated.v1"
	TypeServiceDeleted = "com.isectech.registry.service.deleted.v1"

	TypeHealthShard         = "com.isectech.health.shard.v1"
	TypeHealthStatusChanged = "com.isectech.health.status_changed.v1"
)

// Types of what Google sends.
const (
	typeMessage         = "google.cloud.pubsub.topic.v1.messagePublished"
	typeDocument        = "google.cloud.firestore.document.v1."
	withAuthContext     = ".withAuthContext"
	TypeDocumentCreated = typeDocument + "created"
	TypeDocumentUpdated = typeDocument + "updated"
	TypeDocumentDeleted = typeDocument + "deleted"
	TypeDocumentWritten = typeDocument + "written"
)

var documentTypes = []string{TypeDocumentCreated, TypeDocumentUpdated, TypeDocumentDeleted, TypeDocumentWritten}

// Types lists the types above and those of the security events.
func Types() []string {
	all := append(slices.Clone(documentTypes), TypeRegister, TypeHeartbeat, TypeUnregister,
		TypeServiceCreated, TypeServiceUpdated, TypeServiceDeleted, TypeHealthShard, TypeHealthStatusChanged)
	for _, t := range documentTypes {
		all = append(all, t+withAuthContext)
	}
	for _, kind := range security.Kinds() {
		all = append(all, kind.Type())
	}
	return all
}
