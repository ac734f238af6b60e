package redis

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// MaxKeys is how many keys one GetAll may ask for.
const MaxKeys = 500

// Get returns the string at a key; ok is false where there is none.
func (c *Client) Get(ctx context.Context, key string) (value []byte, ok bool, err error) {
	err = c.do(ctx, "get", c.options.ReadTimeout, func(ctx context.Context, r rueidis.Client) (err error) {
		value, ok, err = text(r.Do(ctx, r.B().Get().Key(key).Build()))
		return err
	})
	return value, ok, err
}

// GetCached is Get by way of this process's memory: Redis says when the key changes, which takes about 0.1 ms,
// and whatever it says, nothing is taken from memory for longer than ttl or than the key itself lives.
func (c *Client) GetCached(ctx context.Context, key string, ttl time.Duration) (value []byte, ok bool, err error) {
	err = c.do(ctx, "get_cached", c.options.ReadTimeout, func(ctx context.Context, r rueidis.Client) (err error) {
		value, ok, err = text(r.DoCache(ctx, r.B().Get().Key(key).Cache(), ttl))
		return err
	})
	return value, ok, err
}

func text(result rueidis.RedisResult) (value []byte, ok bool, err error) {
	value, err = result.AsBytes()
	if rueidis.IsRedisNil(err) {
		return nil, false, nil
	}
	return value, err == nil, shape(err)
}

// GetAll returns the strings at keys, at most MaxKeys, in their order: nil where there is none.
func (c *Client) GetAll(ctx context.Context, keys []string) (values [][]byte, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	if len(keys) > MaxKeys {
		return nil, errors.New("redis get_all: too many keys")
	}
	err = c.do(ctx, "get_all", c.options.ReadTimeout, func(ctx context.Context, r rueidis.Client) error {
		answers, err := r.Do(ctx, r.B().Mget().Key(keys...).Build()).ToArray()
		if err != nil {
			return shape(err)
		}
		if len(answers) != len(keys) {
			return errGarbage
		}
		values = make([][]byte, len(keys))
		for i := range answers {
			if answers[i].IsNil() {
				continue
			}
			if values[i], err = answers[i].AsBytes(); err != nil {
				return shape(err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

// SetNew sets a key that does not exist, for as long as ttl, and reports whether it did: false means that the
// key exists.
func (c *Client) SetNew(ctx context.Context, key, value string, ttl time.Duration) (set bool, err error) {
	if ttl < time.Millisecond {
		return false, errors.New("redis set_new: a key needs at least a millisecond to live")
	}
	err = c.do(ctx, "set_new", c.options.WriteTimeout, func(ctx context.Context, r rueidis.Client) error {
		answer, err := r.Do(ctx, r.B().Set().Key(key).Value(value).Nx().PxMilliseconds(ttl.Milliseconds()).Build()).ToString()
		switch {
		case rueidis.IsRedisNil(err):
			return nil
		case err != nil:
			return shape(err)
		case answer != "OK":
			return errGarbage
		}
		set = true
		return nil
	})
	return set && err == nil, err
}

// Run runs a Lua script on keys with arguments, and returns the strings and integers that it returns. A script
// is a constant of the program: each is remembered.
func (c *Client) Run(ctx context.Context, script string, keys, args []string) (values []string, err error) {
	kept, ok := c.scripts.Load(script)
	if !ok {
		kept, _ = c.scripts.LoadOrStore(script, rueidis.NewLuaScript(script))
	}
	err = c.do(ctx, "run", c.options.WriteTimeout, func(ctx context.Context, r rueidis.Client) error {
		lua, ok := kept.(*rueidis.Lua)
		if !ok {
			return errGarbage
		}
		answers, err := lua.Exec(ctx, r, keys, args).ToArray()
		if err != nil {
			return shape(err)
		}
		values = make([]string, len(answers))
		for i := range answers {
			if answers[i].IsNil() {
				continue
			}
			if n, err := answers[i].ToInt64(); err == nil {
				values[i] = strconv.FormatInt(n, 10)
			} else if values[i], err = answers[i].ToString(); err != nil {
				return shape(err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

// Ping asks for a sign of life.
func (c *Client) Ping(ctx context.Context) error {
	return c.do(ctx, "ping", c.options.ReadTimeout, func(ctx context.Context, r rueidis.Client) error {
		return shape(r.Do(ctx, r.B().Ping().Build()).Error())
	})
}

// shape marks the library's errors about answers of another type than the command has.
func shape(err error) error {
	if err != nil && rueidis.IsParseErr(err) {
		return errors.Join(errGarbage, err)
	}
	return err
}
