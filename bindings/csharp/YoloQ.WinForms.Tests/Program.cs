// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;

namespace YoloQ.WinForms.Tests
{
    /// <summary>Runs every public method of the classes *Tests: "ok NAME" or "failed NAME: why" a line.</summary>
    internal static class Program
    {
        private static int Main()
        {
            int failed = 0;
            IEnumerable<Type> types = typeof(Program).Assembly.GetTypes().Where(type => type.Name.EndsWith("Tests", StringComparison.Ordinal));
            foreach (Type type in types.OrderBy(type => type.Name, StringComparer.Ordinal))
            {
                foreach (MethodInfo test in type.GetMethods(BindingFlags.Public | BindingFlags.Static).Where(method => method.ReturnType == typeof(void)))
                {
                    string problem = Run(test);
                    failed += problem == null ? 0 : 1;
                    string name = type.Name + "." + test.Name;
                    Console.WriteLine(problem == null ? "ok " + name : "failed " + name + ": " + problem);
                }
            }
            return failed == 0 ? 0 : 1;
        }

        private static string Run(MethodInfo test)
        {
            try
            {
                test.Invoke(null, null);
                return null;
            }
            catch (TargetInvocationException error)
            {
                return error.InnerException.ToString().Replace("\n", " | ");
            }
        }
    }

    internal static class Check
    {
        public static void Equal<T>(T expected, T found)
        {
            if (!Equals(expected, found))
            {
                throw new InvalidOperationException("expected " + expected + ", found " + found);
            }
        }

        public static void True(bool condition, string what)
        {
            if (!condition)
            {
                throw new InvalidOperationException(what);
            }
        }

        public static void Throws<T>(Action action) where T : Exception
        {
            try
            {
                action();
            }
            catch (T)
            {
                return;
            }
            throw new InvalidOperationException("expected " + typeof(T).Name);
        }
    }
}
